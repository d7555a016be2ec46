"""What is in the store is whole, there for one owner, and not for ever. Run: pytest tests/serving"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import c3
from c3.serving.context_store import ContextStore, StoreFull

A, B, C = (f"ctx-{digit * 32}" for digit in "abc")
WRITER = """
import sys
from c3.serving.context_store import ContextStore
store = ContextStore(sys.argv[1], 1 << 30, 3600)
for count in range(10**6):
    store.put("owner", f"ctx-{count % 3:032x}", bytes([count % 251]) * (1 << 22))
    print(count, flush=True)
"""


@pytest.fixture(params=["folder", "memory"])
def address(request, tmp_path):
    return tmp_path / "store" if request.param == "folder" else f"memory://{tmp_path.name}"


def test_bytes_come_back(address):
    store = ContextStore(address, 1000, 100)
    assert store.get("me", A) is None and store.written("me", A) is None and not store.delete("me", A)
    store.put("me", A, b"one")
    store.put("you", A, b"two")
    again = ContextStore(address, 1000, 100)
    assert (again.get("me", A), again.get("you", A), again.get("me", B)) == (b"one", b"two", None)
    assert abs(again.written("me", A) - time.time()) < 60
    again.put("me", A, b"three")
    assert store.get("me", A) == b"three" and store.delete("me", A) and again.get("me", A) is None
    assert store.get("you", A) == b"two"
    for name in ("../you/" + A, "ctx-" + "A" * 32, A + "/..", "", A + "\n"):
        with pytest.raises(ValueError, match="no id"):
            store.get("me", name)


def test_room_and_age(address):
    offset = [0.0]
    store = ContextStore(address, 10, 100, clock=lambda: time.time() + offset[0])
    for name in (A, B, A, C):  # A is the newer one of the two
        store.put("me", name, b"1234")
        time.sleep(0.02)
    store.put("you", B, b"12345678")
    assert [store.get("me", each) for each in (A, B, C)] == [b"1234", None, b"1234"]
    with pytest.raises(StoreFull, match="11 bytes"):
        store.put("me", B, bytes(11))
    assert store.get("me", A) and store.get("you", B)
    offset[0] = 101
    store.put("me", B, b"")
    assert [store.get("me", each) for each in (A, C)] == [None, None] and store.files.ls(f"{store.root}/me")
    assert store.get("you", B) is None


def test_what_is_too_old_is_swept_whosever_it_is(address):
    """Also of a key that is no longer valid; at the start, and when asked to. What is not the store's stays."""
    offset, owners = [0.0], ("anybody", "0f" * 16)
    store = ContextStore(address, 1000, 100, clock=lambda: time.time() + offset[0])
    files, root = store.files, store.root
    for owner in owners:
        store.put(owner, A, b"old")
    others = [f"{root}/{A}.c3", f"{root}/backup/{A}.c3", f"{root}/anybody/{A}.c3.bak", f"{root}/anybody/in/{A}.c3"]
    others += [f"{root}/anybody/x{A}.c3", f"{root}/notes.c3", f"{root}/anybody/{A.upper()}.c3"]
    for path in others:
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, b"mine")
    offset[0] = 99
    store.sweep()
    assert all(store.get(owner, A) == b"old" for owner in owners)
    offset[0] = 101
    store.put("anybody", B, b"new")  # by the clock of the disk as old as the others: it makes room of its own alone
    assert files.exists(f"{root}/{owners[1]}/{A}.c3")
    store.sweep()
    assert not any(files.exists(f"{root}/{owner}/{A}.c3") for owner in owners)
    assert all(files.cat_file(path) == b"mine" for path in others)
    offset[0] = 0
    store.put(owners[1], A, b"again")
    offset[0] = 101
    ContextStore(address, 1000, 100, clock=store.clock)
    assert store.written(owners[1], A) is None and all(map(files.exists, others))


def test_only_the_server_can_read_them(tmp_path):
    store = ContextStore(tmp_path, 1000, 100)
    store.put("me", A, b"one")
    (tmp_path / "me").chmod(0o750)
    store.put("me", A, b"two")  # what an administrator allows stays
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "me", tmp_path / "me" / f"{A}.c3")]
    assert modes == [0o750, 0o600]
    store.put("you", A, b"one")
    assert (tmp_path / "you").stat().st_mode & 0o777 == 0o700


def test_a_write_that_is_killed_leaves_nothing_broken(tmp_path):
    environment = {"PYTHONPATH": str(Path(c3.__file__).parents[1]), "PATH": ""}
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, env=environment)
        for _ in range(4):
            assert process.stdout.readline()
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.communicate()
        store = ContextStore(tmp_path, 1 << 30, 3600)
        found = [store.get("owner", f"ctx-{count:032x}") for count in range(3)]
        assert all(len(each) == 1 << 22 and len(set(each)) == 1 for each in found)


def test_only_what_was_begun_long_ago_is_removed(tmp_path):
    """And nothing that is not the store's."""
    folder = tmp_path / "new"
    ContextStore(folder, 100, 100).put("me", A, b"one")
    assert folder.stat().st_mode & 0o777 == 0o700
    others = [
        folder / "me" / "notes.c3",
        folder / "me" / ".notes.tmp",
        folder / "x.tmp",
        folder / "me" / "in" / "y.tmp",
    ]
    others[-1].parent.mkdir()
    begun = folder / "me" / f".{A}.c3.0a0a.tmp"
    for path in (*others, begun):
        path.write_bytes(b"half" * 9)
    folder.chmod(0o755)
    ContextStore(folder, 100, 100)
    assert begun.exists()
    later = ContextStore(folder, 100, 1e9, clock=lambda: time.time() + 4000)
    assert not begun.exists() and later.get("me", A) == b"one" and folder.stat().st_mode & 0o777 == 0o755
    later.put("me", B, bytes(99))
    assert later.get("me", A) is None and all(path.exists() for path in others)
