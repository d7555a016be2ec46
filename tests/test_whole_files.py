"""Files that appear whole or not at all."""

import os
import stat

import pytest

from c3.whole_files_c3 import whole_file, write_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "text.txt"
    write_whole(path, "old\r\n")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old\r\n"
    assert os.listdir(tmp_path) == ["text.txt"]


def test_the_file_has_the_rights_that_open_gives(tmp_path):
    (tmp_path / "opened").write_text("")
    with whole_file(tmp_path / "written") as temporary:
        temporary.write_text("")
        temporary.chmod(0o600)
    assert stat.S_IMODE((tmp_path / "written").stat().st_mode) == stat.S_IMODE((tmp_path / "opened").stat().st_mode)
