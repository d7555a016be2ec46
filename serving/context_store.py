"""Where contexts are kept: bytes under an owner and an id, in a folder or at any address that fsspec knows."""

import os
import re
import secrets
import threading
import time
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem

from c3.whole_files_c3 import write_whole

from .keys import OWNER

ENDING = ".c3"
ID = re.compile(r"ctx-[0-9a-f]{32}")
KEPT = re.compile(rf"{ID.pattern}\{ENDING}")
# Beside its place; what is older and still called so was left by a process that was killed.
UNFINISHED = re.compile(rf"\.{ID.pattern}\{ENDING}\.[0-9a-f]+\.tmp")
SECONDS_OF_A_WRITE = 3600


class StoreFull(ValueError):
    """Something takes more than the store may hold: `except StoreFull: compress_at_a_higher_ratio()`."""


class ContextStore:
    """
    Bytes by owner and id. What is there is whole: on a disk it is written beside its place and moved there once it is
    on disk; elsewhere it is moved, too, which where files are objects is one step.

        store = ContextStore("s3://bucket/contexts", most_bytes=1 << 30, most_seconds=24 * 3600)
        store.put(owner, "ctx-00…", data)

    Args:
        address (`str`): a folder, or an address such as `s3://…` or `memory://…`; is made if need be.
        most_bytes (`int`): of an owner. What was written longest ago makes room.
        most_seconds (`float`): after which what was written is gone.
        clock (`Callable`): seconds since 1970.
    """

    def __init__(self, address, most_bytes, most_seconds, clock=time.time):
        self.files, self.root = fsspec.url_to_fs(str(address))
        self.most_bytes, self.most_seconds, self.clock = most_bytes, most_seconds, clock
        self._writing = threading.Lock()
        if self._is_local and not self.files.exists(self.root):
            os.makedirs(self.root, mode=0o700)
        self.files.makedirs(self.root, exist_ok=True)
        self.sweep()

    def sweep(self):
        """
        Removes what is too old, whosever it is, so also of keys that nobody has any more, and what was left unfinished.
        Nothing else that is there is touched.
        """
        self.files.invalidate_cache()
        for path in self.files.find(self.root, maxdepth=2):
            owner, _, name = path.removeprefix(self.root).strip("/").rpartition("/")
            is_unfinished = UNFINISHED.fullmatch(name)
            if is_unfinished or (OWNER.fullmatch(owner) and KEPT.fullmatch(name)):
                with suppress(FileNotFoundError):  # another process has removed it
                    self._expire(path, SECONDS_OF_A_WRITE if is_unfinished else self.most_seconds)

    def put(self, owner, name, data):
        """
        Keeps bytes, also in the place of others, whose age ends with that.

        Args:
            owner (`str`): who alone can get them.
            name (`str`): as `ID`.
            data (`bytes`): what to keep.

        Raises:
            StoreFull: they are more than `most_bytes`.
        """
        if len(data) > self.most_bytes:
            raise StoreFull(f"it takes {len(data)} bytes, and {self.most_bytes} are kept of all together")
        path = self._path(owner, name)
        with self._writing:
            if self._is_local:
                os.makedirs(f"{self.root}/{owner}", mode=0o700, exist_ok=True)
            else:
                self.files.makedirs(f"{self.root}/{owner}", exist_ok=True)
            self._make_room(owner, name, len(data))
            if self._is_local:
                write_whole(path, data, mode=0o600)
            else:
                beside = f"{self.root}/{owner}/.{name}{ENDING}.{secrets.token_hex(4)}.tmp"
                self.files.pipe_file(beside, data)
                self.files.mv(beside, path)

    def get(self, owner, name):
        """The bytes, or None where there are none, or none any more."""
        path = self._path(owner, name)
        try:
            return None if self._expire(path, self.most_seconds) else self.files.cat_file(path)
        except FileNotFoundError:
            return None

    def written(self, owner, name):
        """When they were written, in seconds since 1970; None where there are none."""
        try:
            return self._written(self._path(owner, name))
        except FileNotFoundError:
            return None

    def delete(self, owner, name):
        """Forgets them; returns whether there were any."""
        return self._remove(self._path(owner, name))

    def _make_room(self, owner, name, size):
        self.files.invalidate_cache()
        kept = {}
        for entry in self.files.ls(f"{self.root}/{owner}", detail=True):
            path = entry["name"]
            other = path.rpartition("/")[2].removesuffix(ENDING)
            if ID.fullmatch(other) and other != name:
                try:
                    kept[path] = self._written(path), entry["size"]
                except FileNotFoundError:  # another process has removed it
                    continue
        room = self.most_bytes - size - sum(size for _, size in kept.values())
        for path, (written, size) in sorted(kept.items(), key=lambda item: item[1][0]):
            if self.clock() - written > self.most_seconds or room < 0:
                self._remove(path)
                room += size

    @property
    def _is_local(self):
        return isinstance(self.files, LocalFileSystem)

    def _path(self, owner, name):
        if not ID.fullmatch(name):
            raise ValueError(f"no id of a context: {name!r}")
        return f"{self.root}/{owner}/{name}{ENDING}"

    def _written(self, path):
        return self.files.modified(path).timestamp()

    def _age(self, path):
        return self.clock() - self._written(path)

    def _expire(self, path, seconds):
        """Removes a file that is older than that; returns whether it was."""
        if self._age(path) <= seconds:
            return False
        with self._writing:  # and unless it has just been written anew
            return self._age(path) > seconds and self._remove(path)

    def _remove(self, path):
        try:
            self.files.rm_file(path)
        except FileNotFoundError:
            return False
        return True
