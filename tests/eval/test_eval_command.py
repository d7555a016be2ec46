"""What is registered, runs that are interrupted, errors, all suites. Run: pytest tests/eval/test_eval_command.py"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from c3 import C3Model
from c3.cli.main import main as c3_main
from c3.eval import command, engine
from c3.eval.baselines import METHODS, PAGE_READERS
from c3.eval.metrics import METRICS
from c3.eval.questions import material
from c3.eval.suites import SUITES
from eval_files import load, main, write_lines
from image_models import LINE, model_of_lines

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "registry, heading",
    [([*SUITES, "all"], "# Evaluation"), ({**METHODS, **PAGE_READERS}, "## Methods"), (METRICS, "## Metrics")],
    ids=["suites", "methods", "metrics"],
)
def test_the_documentation_describes_what_is_registered(registry, heading):
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = text[text.index(f"{heading}\n") :].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    assert sorted(sum((re.findall(r"`(.*?)`", row) for row in rows), [])) == sorted(registry)


def without_timing(path):
    return load(path) | {"timing": None}


def test_interrupted_run_goes_on_and_numbers_repeat(arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_BATCHES", 1)
    options = ["--ratios", "2", "4", "--lengths", "1", "6", "--samples", "3", "--window", "16"]
    options = ["forgetting", *arguments, *options, "--methods", "truncation", "c3"]
    calls, expand = [], C3Model.expand

    def interrupted(self, latents, **kwargs):
        calls.append(len(latents))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return expand(self, latents, **kwargs)

    monkeypatch.setattr(C3Model, "expand", interrupted)
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(KeyboardInterrupt):
        main([*options, "--output", str(first)])
    before = load(first / "forgetting.json")
    assert 0 < len(before["examples"]) < before["n_examples"]
    main([*options, "--output", str(first)])
    done = len(calls)
    content = (first / "forgetting.json").read_bytes()
    main([*options, "--output", str(first)])  # nothing is left to do
    assert len(calls) == done and (first / "forgetting.json").read_bytes() == content
    main([*options, "--output", str(second)])
    assert without_timing(first / "forgetting.json") == without_timing(second / "forgetting.json")
    for ending in ("md", "svg", "png"):
        assert (first / f"forgetting.{ending}").read_bytes() == (second / f"forgetting.{ending}").read_bytes()
    for change in (["--limit", "2"], ["--samples", "2"], ["--methods", "c3"]):
        with pytest.raises((OSError, ValueError), match=r"another run \(.* differ\): delete it or choose another"):
            main([*options, *change, "--output", str(first)])


def test_texts_can_be_left_out(arguments, tmp_path):
    options = ["--ratios", "4", "--lengths", "1", "--samples", "1"]
    main(["forgetting", *arguments, *options, "--leave-out-texts", "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    assert "output" not in row and row["scores"]


def test_c3_eval_and_its_errors(arguments, checkpoint, data, tmp_path, capsys):
    assert c3_main(["eval", "forgetting", *arguments, "--ratios", "4", "--lengths", "1", "--samples", "1"]) == 0
    assert "## Forgetting" in capsys.readouterr().out
    assert c3_main(["eval", "--help"]) == 0
    assert all(name in capsys.readouterr().out for name in ("robustness",))
    for argv, message in (
        (["forgetting", "--model", str(checkpoint)], "the suite forgetting measures pages: say with --data which"),
        (["forgetting", *arguments, "--data", "none.parquet"], "no such data file: none.parquet"),
        (["fox", *arguments, "--count-with", str(tmp_path / "none")], "none"),
    ):
        assert c3_main(["eval", *argv]) == 2
        err = capsys.readouterr().err
        assert err.startswith("c3: error: ") and message in err and err.count("\n") == 1
    assert c3_main(["eval", "nothing", *arguments]) == 2


def test_a_suite_that_cannot_run_does_not_keep_the_others_from_it(arguments, checkpoint, tmp_path, monkeypatch, capsys):
    """The pages are too short for fox."""
    monkeypatch.setattr(command, "SUITES", {name: SUITES[name] for name in ("fox", "forgetting")})
    with pytest.raises((OSError, ValueError), match="1 of 2 suites could not be measured: fox"):
        main(["all", *arguments, "--count-with", str(checkpoint), "--window", "8", "--output", str(tmp_path)])
    assert "fox: not measured: none of the 3 pages has 600-1300 tokens" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("*.md")} == {"forgetting.md"}


def test_latents_that_a_model_does_not_have_are_left_out(make_model, long_pages, tmp_path, capsys):
    """The appended layout has no more in a window than in training: the released weights of the paper are such."""
    make_model("appended").save_pretrained(tmp_path / "appended")
    path = tmp_path / "pages.jsonl"
    write_lines(path, [{"text": long_pages[0]}])
    options = ["fox", "--model", str(tmp_path / "appended"), "--count-with", str(tmp_path / "appended")]
    options += ["--data", str(path), "--device", "cpu", "--limit", "1"]
    main([*options, "--latents", "100", "400", "--output", str(tmp_path)])
    result = load(tmp_path / "fox.json")
    assert [row["setting"] for row in result["examples"]] == ["100 latents"] and result["n_examples"] == 1
    assert re.match(r"400 latents: 1 texts \(1\), as ratio=.* above the 8 that this model", result["left_out"][-1])
    assert "left out: 400 latents" in capsys.readouterr().err
    with pytest.raises((OSError, ValueError), match="no text can be measured: 400 latents"):
        main([*options, "--latents", "400"])


def test_pages_that_pictures_cannot_show_are_left_out(tmp_path):
    """Of one ratio, before anything is measured; the others are measured."""
    model_of_lines().save_pretrained(tmp_path / "pictures")
    rows = [{"id": "plain", "text": "Who is it? " * 20}, {"id": "wide", "text": LINE * 20}]
    data = write_lines(tmp_path / "pages.jsonl", rows)
    options = ["--model", str(tmp_path / "pictures"), "--data", str(data), "--device", "cpu", "--ratios", "1", "4"]
    main(["pages", *options, "--methods", "c3", "--output", str(tmp_path)])
    result = load(tmp_path / "pages.json")
    done = [(row["id"], row["setting"]) for row in result["examples"]]
    assert sorted(done) == [("plain", "1x"), ("plain", "4x"), ("wide", "1x")]
    assert re.match(r"4x: 1 texts \(wide\), as Pictures of \d+ latents", result["left_out"][-1])


def with_defaults(suite, **defaults):
    def add_arguments(parser):
        suite.add_arguments(parser)
        parser.set_defaults(**defaults)

    return replace(suite, add_arguments=add_arguments)


def test_all_suites(arguments, checkpoint, data, long_pages, tmp_path, monkeypatch):
    """Those that try most, on less: a model that was never trained gives them everything to do."""
    monkeypatch.setitem(SUITES, "search", with_defaults(SUITES["search"], ratios=[8.0], beams=2))
    monkeypatch.setitem(SUITES, "adaptive", with_defaults(SUITES["adaptive"], ratio=5.0, samples=1, length=100))
    one = {"tasks": ["single-words-noise"], "lengths": [64], "depths": [0.5], "baselines": ["head"], "ratios": [8.0]}
    monkeypatch.setitem(SUITES, "ask", with_defaults(SUITES["ask"], **one))
    monkeypatch.setattr(material, "TEST_DOCUMENTS", 1.0)
    write_lines(data, [{"text": long_pages[0]}])
    main(["all", *arguments, "--count-with", str(checkpoint), "--window", "8", "--output", str(tmp_path)])
    assert {path.name for path in tmp_path.glob("*.md")} == {f"{name}.md" for name in SUITES}
