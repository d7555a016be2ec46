"""The suite robustness with a tiny model. Run: pytest tests/eval/test_robustness.py"""

import pytest

from c3 import C3Model
from c3.eval.metrics import METRICS, all_scores
from c3.eval.suites.robustness import KINDS, kind_tables, lengths
from c3.eval.text_kinds import GENERATED_KINDS, PAGE_KINDS, RANDOM_TOKENS, cut_tokens
from eval_files import PAGES, load, main


def test_robustness(arguments, checkpoint, tmp_path, capsys):
    output = tmp_path / "out"
    options = ["--samples", "1", "--ratios", "4", "--window", "16"]
    main(["robustness", *arguments, *options, "--output", str(output)])
    out, err = capsys.readouterr()
    result = load(output / "robustness.json")
    rows = result["examples"]
    assert lengths(16) == [1, 2, 8, 16, 32, 160]
    kinds = [kind for kind in KINDS if kind != "Chinese"]
    assert result["left_out"] == ["Chinese: there are no Chinese pages in --data"] and "left out: Chinese" in err
    assert len(rows) == result["n_examples"] == len(kinds) * 6
    model = C3Model.from_pretrained(checkpoint)
    for row in rows:
        assert set(row["scores"]) == set(METRICS) and row["method"] == "c3" and row["setting"] == "4x"
        assert row["latents"] == max(row["min_windows"], row["own_tokens"] // 4) and row["own_tokens"] >= 1
        assert row["kept_bytes"] == row["latents"] * 32 * 2
    # One of them by hand.
    (row,) = [row for row in rows if row["id"] == "English/32/0"]
    text = cut_tokens(model.processor.tokenizer, PAGES[0] * 3, 32)
    back = model.expand(model.compress(text, ratio=row["own_tokens"] / (row["latents"] + 0.5), window=16))
    assert row["output"] == back and row["scores"] == all_scores(text, back)
    assert out.strip() == (output / "robustness.md").read_text(encoding="utf-8").strip()
    assert all(f"| {kind} |" in out for kind in kinds) and "### c3, 4x" in out
    assert (output / "robustness.png").stat().st_size > 5000 and b"<svg" in (output / "robustness.svg").read_bytes()


def test_robustness_without_pages(checkpoint, tmp_path):
    options = ["--model", str(checkpoint), "--device", "cpu", "--window", "8", "--samples", "1"]
    main(["robustness", *options, "--output", str(tmp_path)])
    result = load(tmp_path / "robustness.json")
    kinds = {row["group"].split(", ")[0] for row in result["examples"]}
    assert kinds == {*GENERATED_KINDS, RANDOM_TOKENS} and result["data"] == []
    assert len(result["left_out"]) == len(PAGE_KINDS) + 1
    with pytest.raises((OSError, ValueError), match="no text of any kind could be made: English: there are no"):
        main(["robustness", *options, "--kinds", "English"])


def test_texts_shorter_than_the_ratio_are_not_averaged_with_it():
    rows = [
        {"method": "c3", "setting": "8x", "group": f"code, {length}", "id": f"code/{length}/{sample}"}
        | {"counted_ratio": ratio, "scores": {"precision": score}}
        for length, ratio, scores in ((1, 1.0, (1, 1)), (8, 8.0, (0.5, 0.7)), (64, 8.0, (0.1, 0.3)))
        for sample, score in enumerate(scores)
    ]
    rows += [row | {"method": "zlib", "counted_ratio": None} for row in rows]
    heading, table, of_archive, archived = kind_tables(rows)
    assert (heading, of_archive) == ("### c3, 8x", "### zlib, 8x")
    # An archive has no ratio to be long enough for.
    assert "| code | 100.0% | 60.0% | 20.0% |  |" in archived
    # Of two texts: 0.3 and 0.5, each over its two lengths.
    assert "| code | 100.0% | 60.0% | 20.0% | 40.0% [30.0%, 50.0%] |" in table
