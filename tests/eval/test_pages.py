"""The suite pages with a tiny model: rows by hand, tables, errors. Run: pytest tests/eval/test_pages.py"""

import math
import re

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from c3 import C3Model
from c3.eval import engine
from c3.eval.metrics import METRICS, all_scores
from c3.eval.suites.pages import SUITE, below_ratio, ratio_tables
from c3.support.loading import load_model
from c3.training.data.tokenizer import train_tokenizer
from eval_files import load, main, write_lines

TEXTS = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "短い文章です。 Émigré naïve café — 42 %",
    "def add(a, b):\n    return a + b\n" * 3,
]


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """Folder of a tokenizer that makes fewer tokens than the model's: whole words."""
    folder = tmp_path_factory.mktemp("coarse")
    train_tokenizer(TEXTS * 4, vocab_size=340).save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    rows = [{"id": f"p{i}", "source": "a book", "text": text} for i, text in enumerate(TEXTS)]
    return write_lines(tmp_path / "pages.jsonl", rows)


@pytest.fixture
def command(checkpoint, coarse, data):
    files = ["--model", str(checkpoint), "--data", str(data), "--count-with", str(coarse)]
    return ["pages", *files, "--device", "cpu"]


def test_errors_are_one_line(command, tmp_path, capsys):
    def error(*options):
        with pytest.raises((OSError, ValueError)) as caught:
            main([*command, *options])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert error("--data", "none.parquet") == "no such data file: none.parquet"
    assert "window=33 is above this model's window of 32" in error("--window", "33")
    AutoConfig.for_model("qwen2").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert "it is a 'qwen2' model, not a C3 one" in error("--model", str(tmp_path))
    assert "cannot load a C3 model: there is no folder" in error("--model", str(tmp_path / "no"))
    capsys.readouterr()
    for bad in ("0.5", "nan"):
        with pytest.raises(SystemExit):
            main([*command, "--ratios", bad])
        said = capsys.readouterr().err
        assert said.startswith("c3: error: argument --ratios: must be a number of 1 or more") and said.count("\n") == 1


def test_ratios_that_a_model_does_not_have(command, make_model, tmp_path):
    """The appended layout has no more latents in a window than in training."""
    make_model("appended", num_latents=4).save_pretrained(tmp_path / "model")
    said = r"no text can be measured: 2x: 3 texts \(p0, p1, p2\), as ratio=.* above the 4 that this model"
    with pytest.raises((OSError, ValueError), match=said):
        main([*command, "--model", str(tmp_path / "model"), "--ratios", "2"])


def test_a_checkpoint_without_all_weights(make_model, tmp_path):
    make_model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["projector.linear_1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack 1 tensor\(s\), first 'projector.linear_1.weight'"):
        load_model(str(tmp_path), "cpu", "float32")


def test_run(command, checkpoint, coarse, tmp_path, capsys):
    output = tmp_path / "results"
    main([*command, "--ratios", "8", "3.3", "--output", str(output), "--batch-size", "4"])
    out = capsys.readouterr().out
    result = load(output / "pages.json")
    model = C3Model.from_pretrained(checkpoint)
    assert result["model"] == vars(model.latent_provenance()) and result["model"]["weights_fingerprint"]
    assert result["counted_with"]["name"] == coarse.name and len(result["counted_with"]["fingerprint"]) == 16
    assert set(result["versions"]) == {"c3", "torch", "transformers"} and set(result["timing"]) == {"c3"}
    options = {"window": 32, "batch_size": 4, "steps": 200, "ratios": [8, 3.3], "limit": None}
    assert result["options"] == options | {"device": "cpu", "dtype": "float32"}
    rows = result["examples"]
    wanted = [(setting, f"p{number}") for setting in ("3.3x", "8x") for number in range(3)]
    assert [(row["setting"], row["id"]) for row in rows] == wanted and result["n_examples"] == 6
    for row, text in zip(rows, TEXTS * 2, strict=True):
        ratio = float(row["setting"].removesuffix("x"))
        assert (row["method"], row["group"]) == ("c3", "en") and row["counted_tokens"] < row["own_tokens"]
        assert row["latents"] == max(row["min_windows"], math.floor(row["counted_tokens"] / ratio))
        assert row["own_ratio"] > row["counted_ratio"] == row["counted_tokens"] / row["latents"]
        assert row["kept_bytes"] == row["latents"] * 32 * 2 and row["text_bytes"] == len(text.encode())
        # The same as by hand: the text that comes out, and its scores.
        latents = model.compress(text, ratio=row["own_tokens"] / (row["latents"] + 0.5))
        assert (latents.num_latents, latents.num_windows) == (row["latents"], row["num_windows"])
        assert model.expand(latents) == row["output"] != text and row["num_windows"] >= row["min_windows"]
        assert row["scores"] == all_scores(text, row["output"]) and set(row["scores"]) == set(METRICS)
    assert out.startswith("## Whole pages") and f"tokens of {coarse.name}" in out and "### c3, en" not in out
    for setting in ("3.3x", "8x"):
        chosen = [row for row in rows if row["setting"] == setting]
        scores = [row["scores"]["precision"] for row in chosen]
        (line,) = re.findall(rf"^\| {setting} \| (.*) \|$", out, flags=re.MULTILINE)
        reached, own, precision, median, least, exact, token_f1, size = line.split(" | ")
        ratios = [row["counted_ratio"] for row in chosen]
        assert reached == f"{np.mean(ratios):.2f} ({min(ratios):.2f})"
        assert own == f"{np.mean([row['own_ratio'] for row in chosen]):.2f}"
        low, high = map(float, re.findall(r"(\S+)%[],]", precision.partition("[")[2]))
        assert precision.startswith(f"{np.mean(scores):.2%} [")
        assert min(scores) - 1e-4 <= low / 100 <= np.mean(scores) <= high / 100 <= max(scores) + 1e-4
        assert (median, least, exact) == (f"{np.median(scores):.2%}", f"{min(scores):.2%}", "0.0%")
        assert token_f1 == f"{np.mean([row['scores']['token_f1'] for row in chosen]):.2%}"
        sizes = (np.mean([row[name] for row in chosen]) for name in ("kept_bytes", "text_bytes"))
        assert size == " / ".join(f"{each:.0f}" for each in sizes)
        below = [row["id"] for row in chosen if row["counted_ratio"] < float(setting.removesuffix("x"))]
        assert below_ratio(chosen) == below and (f"Below {setting}, as every window has a latent" in out) == bool(below)
    assert (output / "pages.png").stat().st_size > 5000
    assert "3 pages of pages.jsonl, not Fox" in (output / "pages.svg").read_text(encoding="utf-8")

    # The same command elsewhere: the same but for the seconds, and for the order in which the ratios were named.
    main([*command, "--ratios", "3.3", "8", "--output", str(tmp_path / "again"), "--batch-size", "4"])
    assert load(tmp_path / "again" / "pages.json")["examples"] == rows
    assert (tmp_path / "again" / "pages.md").read_bytes() == (output / "pages.md").read_bytes()


def test_one_page_own_tokens_and_pages_left_out(checkpoint, tmp_path, capsys):
    data = write_lines(tmp_path / "one.jsonl", [{"id": "long", "text": TEXTS[0]}, {"id": "none", "text": ""}])
    options = ["--ratios", "16", "--window", "8", "--device", "cpu"]
    main(["pages", "--model", str(checkpoint), "--data", str(data), *options])
    out = capsys.readouterr().out
    assert "ratios count the model's own tokens" in out
    assert "Left out: 1 pages of one.jsonl without text (none)." in out
    assert "Below 16x, as every window has a latent: 1 pages (long)." in out


def test_pages_of_a_table_are_all_accounted_for(checkpoint, tmp_path, capsys):
    """Where all are below the ratio their names say nothing more; those without text are none of them."""
    rows = [{"id": f"p{number}", "text": text} for number, text in enumerate([TEXTS[0], TEXTS[0], "", " ", "unread"])]
    data = write_lines(tmp_path / "all.jsonl", rows)
    options = ["--ratios", "16", "--window", "8", "--device", "cpu", "--limit", "4"]
    main(["pages", "--model", str(checkpoint), "--data", str(data), *options])
    out = capsys.readouterr().out
    assert "Below 16x, as every window has a latent: 2 pages (all of them)." in out
    assert "Left out: 2 pages of all.jsonl without text (p2, p3)." in out


def test_languages_and_methods_have_tables_and_lines_of_their_own(checkpoint, tmp_path):
    """An archive has no ratio, and so no line."""
    data = write_lines(tmp_path / "two.jsonl", [{"text": TEXTS[0]}, {"text": "我来到北京清华大学" * 3}])
    options = ["--methods", "c3", "truncation", "zlib", "--ratios", "4", "8", "--device", "cpu", "--output", tmp_path]
    main(["pages", "--model", str(checkpoint), "--data", str(data), *map(str, options)])
    result = load(tmp_path / "pages.json")
    headings = [part for part in ratio_tables(result["examples"]) if part.startswith("#")]
    assert headings == [f"### {method}, {group}" for method in ("c3", "truncation", "zlib") for group in ("en", "zh")]
    assert ratio_tables(result["examples"])[-1].endswith(" / 81 |") and "| 4x |  |  | 100.00% [" in SUITE.report(result)
    figure = (tmp_path / "pages.svg").read_text(encoding="utf-8")
    assert "<!-- truncation, zh: 2 pages of two.jsonl, not Fox -->" in figure and "<!-- zlib" not in figure


def test_perfect_model_scores_one(command, tmp_path, monkeypatch):
    monkeypatch.setattr(C3Model, "expand", lambda self, latents, **options: TEXTS)
    main([*command, "--ratios", "4", "--output", str(tmp_path)])
    assert all(set(row["scores"].values()) == {1} for row in load(tmp_path / "pages.json")["examples"])
    report = (tmp_path / "pages.md").read_text(encoding="utf-8")
    assert "| 100.00% [100.00%, 100.00%] | 100.00% | 100.00% | 100.0% | 100.00% |" in report


def test_interrupted_run_goes_on(command, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_BATCHES", 1)
    calls, expand = [], C3Model.expand

    def interrupted(self, latents, **options):
        calls.append(latents.num_latents)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return expand(self, latents, **options)

    monkeypatch.setattr(C3Model, "expand", interrupted)
    options = [*command, "--ratios", "4", "8", "--batch-size", "6", "--output"]
    with pytest.raises(KeyboardInterrupt):
        main([*options, str(tmp_path / "first")])
    before = load(tmp_path / "first" / "pages.json")
    assert 0 < len(before["examples"]) < before["n_examples"] == 6
    main([*options, str(tmp_path / "first")])
    assert calls[1] == calls[2]
    content, done = (tmp_path / "first" / "pages.json").read_bytes(), len(calls)
    main([*options, str(tmp_path / "first")])  # nothing is left to do
    assert len(calls) == done and (tmp_path / "first" / "pages.json").read_bytes() == content
    main([*options, str(tmp_path / "whole")])
    whole, after = (load(tmp_path / name / "pages.json") for name in ("whole", "first"))
    assert {**whole, "timing": 0} == {**after, "timing": 0} and after["examples"][: len(before["examples"])] == (
        before["examples"]
    )


def test_results_are_not_mixed(command, data, tmp_path):
    options = [*command, "--ratios", "8", "--output", str(tmp_path)]
    main(options)
    content = (tmp_path / "pages.json").read_bytes()
    changes = (
        (["--batch-size", "3"], "options"),
        (["--limit", "1"], "data, options, n_examples"),
        (["--ratios", "8", "9"], "options, n_examples"),
    )
    for change, named in changes:
        with pytest.raises((OSError, ValueError), match=rf"another run \({named} differ\): delete it or choose"):
            main([*options, *change])
    data.write_text(data.read_text(encoding="utf-8").replace("best", "last"), encoding="utf-8")
    with pytest.raises((OSError, ValueError), match=r"another run \(data differ\)"):
        main(options)
    assert (tmp_path / "pages.json").read_bytes() == content
