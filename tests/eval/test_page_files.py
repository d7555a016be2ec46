"""Pages that are read from files. Run: pytest tests/eval/test_page_files.py"""

import pytest

from c3.eval.page_data import Page
from c3.eval.page_files import read_data, read_pages
from eval_files import write_lines


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


def test_the_same_ids(data):
    pages, _, _ = read_data([str(data), str(data)])
    assert [page.id for page in pages] == ["p0", "p1", "p2", "1:p0", "1:p1", "1:p2"]
    data.write_text('{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', encoding="utf-8")
    with pytest.raises(ValueError, match="two pages have the id '1': give each its own"):
        read_data([str(data)])
