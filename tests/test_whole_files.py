"""Files that appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from c3.whole_files_c3 import ensure_writable, whole_file, write_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "text.txt"
    write_whole(path, "old\r\n")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(OSError, match="No space left") as error, whole_file(path) as temporary:
        raise OSError(28, "No space left on device")  # as `write` says it, of no file
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old\r\n"
    assert os.listdir(tmp_path) == ["text.txt"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/proc/a.c3", "No such file"),  # where not even root can make a file
        ("/dev/null", "Not an ordinary file"),
        ("folder", "Not an ordinary file"),
        ("x" * 250, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_known_before_and_named(path, said, tmp_path):
    path = tmp_path / path
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=said) as error:
        ensure_writable(path)
    assert error.value.filename == str(path)
    if path != Path("/dev/null"):  # were this to fail, the whole machine would be without it
        with pytest.raises(OSError, match=said) as error:
            write_whole(path, "text")
        assert error.value.filename == str(path)
    ensure_writable(tmp_path / "new.c3")
    assert os.listdir(tmp_path) == ["folder"] and Path("/dev/null").is_char_device()


def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileExistsError, match="Not an ordinary file"):
        write_whole(pipe, "text")
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_the_file_has_the_rights_that_open_gives(tmp_path):
    (tmp_path / "opened").write_text("")
    with whole_file(tmp_path / "written") as temporary:
        temporary.write_text("")
        temporary.chmod(0o600)
    assert stat.S_IMODE((tmp_path / "written").stat().st_mode) == stat.S_IMODE((tmp_path / "opened").stat().st_mode)
