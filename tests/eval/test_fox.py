"""The suite fox with a tiny model. Run: pytest tests/eval/test_fox.py"""

import re

import pytest

from c3.eval import published
from c3.eval.suites.fox import bucket
from eval_files import load, main, write_fox, write_lines


def test_bucket():
    wanted = {599: None, 600: "600-700", 699: "600-700", 700: "700-800", 1200: "1200-1300", 1300: "1200-1300"}
    assert {tokens: bucket(tokens) for tokens in wanted} == wanted and bucket(1301) is None


def test_fox_protocol_on_pages_that_are_not_fox(checkpoint, long_pages, tmp_path, capsys):
    path = write_lines(tmp_path / "pages.jsonl", [{"text": text} for text in [*long_pages, " "]])
    options = ["--model", str(checkpoint), "--data", str(path), "--count-with", str(checkpoint), "--device", "cpu"]
    main(["fox", *options, "--latents", "32", "64", "--output", str(tmp_path)])
    out = capsys.readouterr().out
    result = load(tmp_path / "fox.json")
    assert result["left_out"][0] == "1 pages of pages.jsonl without text (4)"
    assert result["left_out"][1] == "1 pages outside 600-1300 tokens (3)"
    assert "2 pages" not in result["left_out"][1] and "have more windows than 32" in result["left_out"][2]
    rows = result["examples"]
    assert [(row["setting"], row["group"]) for row in rows] == [
        ("32 latents", "en 600-700"),
        ("32 latents", "en 1200-1300"),
        ("64 latents", "en 600-700"),
        ("64 latents", "en 1200-1300"),
    ]
    assert [row["latents"] for row in rows] == [32, rows[1]["min_windows"], 64, 64]
    assert out.startswith("## The protocol of Fox on other pages: **not Fox**")
    assert re.search(r"\| 1200-1300 \| 1 \| 19\.\d \| 19.7 \| 19\.\d \| .* \| 98.4% \| 59.1% \|", out)
    assert re.search(r"\| 600-700 \| 1 \| 20\.\d \| 21.0 \| 20\.\d \| .* \| 99.7% \|  \|", out)
    assert (tmp_path / "fox.svg").is_file()


def test_published_tables_are_whole():
    tables = (published.C3_PUBLISHED, published.DEEPSEEK_OCR_PUBLISHED, published.RATIO_PUBLISHED)
    assert [[latents for latents, name in table if name == "900-1000"] for table in tables] == [
        [32, 64, 100],
        [64, 100],
        [32, 64, 100],
    ]
    assert {len(table) // 7 for table in tables} == {2, 3} and {name for _, name in tables[0]} == {
        bucket(tokens) for tokens in range(600, 1301)
    }
    ends = [(latents, f"{low}-{low + 100}") for latents in (64, 100) for low in (600, 1200)]
    assert [published.C3_PUBLISHED[end] for end in ends] == [0.997, 0.984, 0.999, 0.975]
    assert [published.DEEPSEEK_OCR_PUBLISHED[end] for end in ends] == [0.965, 0.591, 0.985, 0.871]
    assert [published.C3_PUBLISHED[32, name] for _, name in ends[:2]] == [0.997, 0.933]
    # A bucket's mean number of tokens lies in it, and so does the ratio; but for what the paper prints at one place.
    outside = [
        (latents, name)
        for (latents, name), ratio in published.RATIO_PUBLISHED.items()
        if bucket(round(ratio * latents)) != name
    ]
    assert outside == [(32, "1000-1100")]


def test_whole_fox_is_called_fox(checkpoint, long_pages, tmp_path, capsys):
    archive = write_fox(tmp_path / "fox.zip", long_pages[:1] + ["short"] * 111)
    options = ["--model", str(checkpoint), "--data", archive, "--count-with", str(checkpoint), "--device", "cpu"]
    main(["fox", *options, "--latents", "64"])
    assert capsys.readouterr().out.startswith("## Fox\n")
    main(["fox", *options, "--latents", "64", "--limit", "5"])
    assert "**not Fox**" in capsys.readouterr().out


def test_pages_outside_the_range(arguments, checkpoint):
    with pytest.raises((OSError, ValueError), match="^none of the 3 pages has 600-1300 tokens"):
        main(["fox", *arguments, "--count-with", str(checkpoint)])
