"""The file of a measurement that can be interrupted. Run: pytest tests/eval/test_result_file.py"""

import os

import pytest

from c3.eval.result_file import read_matching, write_json
from eval_files import load


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"examples": []}', '{"examples": 5, "timing": 5}'])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="x.json is not a result file: choose another --output"):
        read_matching(path, {"model": "m"}, ("examples", "timing"))
    assert path.read_text() == content


def test_what_is_read(tmp_path):
    path, header = tmp_path / "x.json", {"model": "m", "data": [1]}
    assert read_matching(path, header, ("examples",)) is None and read_matching(None, header, ("examples",)) is None
    write_json(path, {**header, "examples": [2]})
    assert read_matching(path, header, ("examples",)) == {**header, "examples": [2]}
    with pytest.raises(ValueError, match=r"another run \(data differ\): delete it or choose another --output"):
        read_matching(path, {"model": "m", "data": []}, ("examples",))


def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"id": "a\ud800"})
    assert load(path) == {"id": "a\ud800"}
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.json"]
