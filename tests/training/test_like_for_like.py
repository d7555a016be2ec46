"""The comparison of ways to make latents, with runs of a few steps. Run: pytest tests/training/test_like_for_like.py"""

import json
import statistics
from dataclasses import replace

import pytest
import torch

from c3 import C3Model
from c3.eval.like_for_like_report import spread
from c3.eval.metrics import precision
from c3.training import like_for_like
from c3.training.like_for_like import KINDS, LAYOUTS, compare, model_fields, texts_of_kinds
from c3.training.recipe.recipe_file import load_recipe


@pytest.fixture(scope="module")
def arguments(training_folder):
    pages = training_folder / "pages.jsonl"
    pages.write_text('{"text": "It was the best of times."}\n{"text": "42 % of it"}', encoding="utf-8")
    overrides = [f"output_dir={training_folder / 'comparison'}", "evaluation.ratios=[4, 6]"]
    overrides += ["training.max_steps=2", "training.eval_steps=2"]
    overrides += ["curriculum=[{until: 1.0, windows: [32], ratios: [4, 8]}]", "training.bf16=true"]
    options = ["--recipe", training_folder / "recipe.yaml", "--data", pages, "--seeds", "3", "4", "--windows", "3"]
    return list(map(str, [*overrides, *options, "--device", "cpu"]))


@pytest.fixture(scope="module")
def finished(arguments, training_folder):
    """Folder of the results; interrupted after two of the eight runs, and gone on with."""
    output = training_folder / "results"
    trained, train = [], like_for_like.train

    def interrupted(recipe):
        trained.append(recipe)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(recipe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(like_for_like, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare([*arguments, "--output", str(output)], "c3 compare")
        before = json.loads((output / "like_for_like.json").read_text(encoding="utf-8"))
        compare([*arguments, "--output", str(output)], "c3 compare")
    assert len(before["runs"]) == 2 and len(trained) == 3 + 6
    return output, trained


def test_all_runs_differ_in_one_setting(finished):
    _, trained = finished
    del trained[2]
    assert [each.training["seed"] for each in trained] == [3] * 4 + [4] * 4
    for each, layout in zip(trained, [*LAYOUTS] * 2, strict=True):
        changed = set(LAYOUTS[layout]) | ({"encoder_config"} if layout == "pictures" else set())
        assert {key: each.model[key] for key in LAYOUTS[layout]} == LAYOUTS[layout]
        for name in ("curriculum", "tokens_per_batch", "optimizer", "tokenizer", "objectives"):
            assert getattr(each, name) == getattr(trained[0], name)
        ours, theirs = ({k: v for k, v in run.model.items() if k not in changed} for run in (each, trained[0]))
        assert ours == theirs
    assert len({each.output_dir for each in trained}) == 8


def test_results(finished, arguments):
    output, trained = finished
    result = json.loads((output / "like_for_like.json").read_text(encoding="utf-8"))
    assert [(run["layout"], run["seed"]) for run in result["runs"]] == [(n, s) for s in (3, 4) for n in LAYOUTS]
    for run in result["runs"]:
        assert run["steps"] == 2 and run["tokens"] > 0 and run["seconds"] > 0 and len(run["losses"]) == 2
        assert [point["step"] for point in run["curve"]] == [2]
        assert set(run["curve"][0]["precision"]) == set(run["pages"]) == set(run["validation"]) == {"4", "6"}
        assert tuple(run["kinds"]) == KINDS and run["kinds"]["English"] == run["validation"]
        assert len({scores["6"]["texts"] for scores in run["kinds"].values()}) == 1
        assert run["pages"]["4"]["texts"] == 2 and 0 <= run["pages"]["4"]["precision"] <= 1
    queries = {run["layout"]: run["parameters"] for run in result["runs"]}
    assert queries["appended queries"] - queries["mean pooling"] == 8 * 32
    assert queries["uniform queries"] - queries["mean pooling"] == 32
    # One of them again, from its folder.
    model = C3Model.from_pretrained(f"{trained[-1].output_dir}/final", dtype=torch.float32)
    texts = ["It was the best of times.", "42 % of it"]
    back = model.expand(model.compress(texts, ratio=4))
    wanted = result["runs"][-1]["pages"]["4"]
    assert statistics.fmean(map(precision, texts, back)) == pytest.approx(wanted["precision"])
    # No paths of this machine.
    assert str(output.parent) not in (output / "like_for_like.json").read_text(encoding="utf-8")


def test_report_figure_and_a_rerun(finished, arguments, monkeypatch, capsys):
    output, _ = finished
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert set(before) == {f"like_for_like.{ending}" for ending in ("json", "md", "png", "svg")}
    monkeypatch.setattr(like_for_like, "train", lambda recipe: pytest.fail("nothing is left to train"))
    compare([*arguments, "--output", str(output)], "c3 compare")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    report = capsys.readouterr().out
    runs = json.loads(before["like_for_like.json"])["runs"]
    chosen = [run["pages"]["6"]["precision"] for run in runs if run["layout"] == "mean pooling"]
    assert spread(chosen) in report and report.count("| mean pooling |") == 6
    chosen = [run["kinds"]["code"]["4"]["precision"] for run in runs if run["layout"] == "pictures"]
    (row,) = [line for line in report.splitlines() if line.startswith("| 4x | pictures |")]
    assert row.endswith(f"| {spread(chosen)} |")
    for other, name in ((["--seeds", "3"], "seeds"), (["--layouts", "mean pooling"], "comparison")):
        said = rf"another run \(.*{name}.* differ\): delete it or choose another --output"
        with pytest.raises((OSError, ValueError), match=said):
            compare([*arguments, *other, "--output", str(output)], "c3 compare")


def test_spread_by_hand():
    assert spread([0.5, 0.75, 1.0]) == "75.0% (50.0% to 100.0%)"


@pytest.mark.parametrize(
    "changes, message",
    [
        (["training.max_steps=0"], "training.max_steps must be an integer of 1 or more"),
        (["evaluation={}", "validation_data=[]", "training.eval_strategy=no"], "a comparison needs `model`, `eval"),
        (["--data", "none.parquet"], "no such data file: none.parquet"),
    ],
)
def test_errors(changes, message, arguments, tmp_path):
    with pytest.raises((OSError, ValueError), match=message):
        compare([*arguments, *changes, "--output", str(tmp_path / "out")], "c3 compare")


def test_texts_of_kinds(tokenizer):
    """Of a window each, none twice; the words of English in another order."""
    windows = ["It was the best of times, it was the worst of times.", "Call me Ishmael. Some years ago, never mind."]
    texts = texts_of_kinds(windows, 24, tokenizer)
    assert tuple(texts) == KINDS[1:] and texts == texts_of_kinds(windows, 24, tokenizer)
    for kind, made in texts.items():
        assert len(set(made)) == 2
        lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in made]
        assert max(lengths) <= 24 and (kind == "shuffled words" or min(lengths) == 24), kind
    assert all(
        set(made.split()[:-1]) < set(text.split()) for made, text in zip(texts["shuffled words"], windows, strict=True)
    )


def test_the_shipped_recipe_takes_every_layout(monkeypatch):
    """The encoders have about as many parameters, without the embeddings that one of text shares with the decoder."""
    monkeypatch.setattr("c3.training.data.sources.check_source", lambda source: True)
    recipe, sizes = load_recipe(like_for_like.RECIPE, []), []
    for layout, settings in LAYOUTS.items():
        config = replace(recipe, model=model_fields(layout, recipe.model)).model_config(2048)
        for key, value in settings.items():
            found = getattr(config, key)
            assert found == value or (isinstance(value, dict) and value.items() <= found.items()), key
        with torch.device("meta"):
            encoder = C3Model(config).encoder
        sizes.append(sum(each.numel() for each in getattr(encoder, "encoder", encoder).layers.parameters()))
    assert max(sizes) < 1.02 * min(sizes)
