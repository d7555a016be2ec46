"""Pages from the Fox benchmark, as an archive, a folder or a file. Run: pytest tests/eval/test_fox_data.py"""

import zipfile

import pytest

from c3.eval.fox_data import FOX_FILES
from c3.eval.page_files import read_data
from eval_files import write_fox


def test_fox_archive(tmp_path, monkeypatch):
    whole = write_fox(tmp_path / "focus_benchmark_test.zip", ["one"] * 111 + [" "], ["二"] * 100)
    pages, data, left_out = read_data([whole])
    assert len(pages) == 211 and (pages[0].id, pages[-1].id, pages[-1].text) == ("en_1", "1:cn_100", "二")
    assert [each["benchmark"] for each in data] == ["Fox", "Fox"]
    assert left_out == ["1 pages of focus_benchmark_test.zip/en_page_ocr.json without text (en_112)"]
    # The same as a folder and as single files; too few pages are not the benchmark.
    zipfile.ZipFile(whole).extractall(tmp_path / "folder")
    assert [page.text for page in read_data([str(tmp_path / "folder")])[0]] == [page.text for page in pages]
    single = tmp_path / "folder" / "focus_benchmark_test" / "en_page_ocr.json"
    assert len(read_data([str(single)], limit=5)[0]) == 5
    _, data, _ = read_data([write_fox(tmp_path / "few.zip", ["one"] * 3)])
    assert data[0]["benchmark"] is None and FOX_FILES["en_page_ocr.json"] == 112
    # From the Hub.
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("c3.eval.fox_data.find_source", lambda *_: {})
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *args, **kwargs: asked.append((args, kwargs)) or whole
    )
    assert len(read_data(["fox"])[0]) == 211
    assert asked == [(("ucaslcl/Fox_benchmark_data", "focus_benchmark_test.zip"), {"repo_type": "dataset"})]


@pytest.mark.parametrize(
    "name, members, message",
    [
        ("a.zip", {"x.txt": "x"}, "a.zip is not the Fox benchmark: it holds neither en_page_ocr.json nor cn_page_ocr"),
        ("a.zip", {"en_page_ocr.json": "{}x"}, "a.zip/en_page_ocr.json is not a list of Fox pages"),
        ("a.zip", {"en_page_ocr.json": '[{"image": 1}]'}, "is not a list of Fox pages with `conversations`"),
        ("a.zip", None, "a.zip cannot be read as a zip archive"),
        ("missing.zip", {}, "no such data file: .*missing.zip"),
    ],
)
def test_bad_archives(tmp_path, name, members, message):
    if members is None:
        (tmp_path / name).write_bytes(b"PK, or not")
    elif members:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    with pytest.raises((ValueError, OSError), match=message):
        read_data([str(tmp_path / name)])
