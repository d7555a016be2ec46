"""Pages that are read and counted, and how many latents each gets. Run: pytest tests/eval/test_page_data.py"""

import math

import numpy as np
import pytest

from c3.eval.page_data import Page, count_page, own_ratio, read_pages, wanted_latents
from c3.windows_c3 import even_windows
from eval_files import PAGES, write_lines


def test_total_is_never_above_the_floor():
    """Over random pages and ratios: as many latents as floor(counted / ratio) allows, and not one more."""
    rng = np.random.default_rng(0)
    seen_floor = 0
    for _ in range(2000):
        window = int(rng.integers(1, 33))
        own = int(rng.integers(1, 3000))
        lengths = [window] * (own // window) + [own % window] * (own % window > 0)
        counted = max(1, round(own * rng.uniform(0.4, 1.5)))
        hundredths = int(rng.choice([rng.integers(100, 5000), 100 * rng.integers(1, 50)]))
        ratio, floor = hundredths / 100, counted * 100 // hundredths
        page = Page("", "", "", counted, own, len(lengths))
        total = wanted_latents(page, ratio)
        plan = even_windows(own, int(own / own_ratio(page, total)), window)
        assert sum(n for _, n in plan) == total
        if floor < len(lengths):
            assert total == len(lengths)
        else:
            assert total == min(floor, own) and counted / total >= ratio
            seen_floor += 1
    assert 500 < seen_floor < 2000


@pytest.mark.parametrize("own, total", [(49, 49), (1, 1), (93, 31), (2**31, 2**31 // 3), (10, 9)])
def test_own_ratio_survives_rounding(own, total):
    ratio = own_ratio(Page("", "", "", 0, own, 1), total)
    assert ratio >= 1 and int(own / ratio) == total


def test_ratio_is_read_as_typed():
    # 201 / 20.1 is 10, though the binary fraction next to 20.1 lies above it.
    assert wanted_latents(Page("", "", "", 201, 300, 1), 20.1) == 10


def test_count_page(make_model, tokenizer):
    model = make_model()
    page = count_page(Page("p", "", PAGES[0] + "<|endoftext|>"), model, None, 16)
    ids = tokenizer(page.text, split_special_tokens=True)["input_ids"]
    assert page.own_tokens == page.counted_tokens == len(ids) and page.min_windows == math.ceil(len(ids) / 16)
    assert count_page(page, model, tokenizer, 16) == page
    with pytest.raises(ValueError, match="page 'p': text is not valid Unicode: a lone surrogate"):
        count_page(Page("p", "", "a\ud800"), model, None, 16)


def test_read_pages(tmp_path):
    rows = [
        {"text": "one"},
        {"id": "b", "text": " \n"},
        {"id": 7, "text": None},
        {"id": 8, "text": "二\u2028", "tokens": 5},
    ]
    lines = write_lines(tmp_path / "a.jsonl", rows)
    pages, empty = read_pages(lines)
    assert pages == [Page("1", "", "one"), Page("8", "", "二\u2028")] and empty == ["b", "7"]
    assert read_pages(lines, limit=2) == ([Page("1", "", "one")], ["b"])


def test_read_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"n": [1, 2], "text": ["one", ""], "source": ["book", None]}), path)
    assert read_pages(path) == ([Page("1", "book", "one")], ["2"])
    parquet.write_table(pa.table({"id": [1], "body": ["one"]}), path)
    with pytest.raises(ValueError, match="a.parquet has no column 'text'; it has 'id', 'body'$"):
        read_pages(path)
    path.write_bytes(b"PAR1, or not")
    with pytest.raises(ValueError, match="a.parquet cannot be read as parquet"):
        read_pages(path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "text\none", "neither a .parquet nor a .jsonl"),
        ("a.jsonl", '{"text": "one"}\n\n{"te', r"line 3 is not a JSON object"),
        ("a.jsonl", '["text"]', r"line 1 is not a JSON object"),
        ("a.jsonl", '{"id": "x", "body": "one"}', r"no column 'text' \(row 1\); it has 'id', 'body'"),
        ("a.jsonl", '{"id": "x", "text": 5}', "the text of page 'x' is not a string but int"),
        ("a.jsonl", '{"text": ""}\n{"text": " "}', r"no page with text \(2 empty\)"),
        ("a.jsonl", "", r"no page with text \(0 empty\)"),
    ],
)
def test_bad_data(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_pages(path)
