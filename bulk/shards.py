"""Which rows of a data set are in which file of latents, what is done of them, and the index that says so."""

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import fsspec

from c3.whole_files_c3 import ensure_writable, write_whole

SETTINGS, INDEX = "settings.json", "index.json"


@dataclass(frozen=True)
class Shard:
    """
    Args:
        number (`int`): of the shard, from 0.
        start (`int`): its first row in the data set.
        rows (`int`): how many it has.
    """

    number: int
    start: int
    rows: int

    @property
    def name(self):
        return f"shard-{self.number:06d}"


def plan_shards(num_rows, rows_per_shard):
    """The [`Shard`]s of a data set of so many rows."""
    starts = range(0, num_rows, rows_per_shard)
    return [Shard(place, start, min(rows_per_shard, num_rows - start)) for place, start in enumerate(starts)]


def fingerprint_texts(texts):
    """SHA-256 of texts of rows, `list[str or None]`, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


class ShardFolder:
    """
    The folder that a data set is compressed to: `shard-000000.c3`, … with latents, beside each a `.json` file that is
    written last and says what is in it, `settings.json`, and at the end `index.json`.

        folder = ShardFolder("compressed")  # or "s3://bucket/compressed", with what fsspec needs for it installed

    Args:
        address (`str`): a folder, or any address of fsspec.
    """

    def __init__(self, address):
        self.address = address
        self.files, self.root = fsspec.core.url_to_fs(address)
        self.is_local = "file" in (
            (self.files.protocol,) if isinstance(self.files.protocol, str) else self.files.protocol
        )
        self._made_folder = self._made_settings = False

    def path(self, name):
        return str(PurePosixPath(self.root) / name)

    def check(self):
        """
        Raises `ValueError` where the folder holds something else, or can be neither read nor made.
        """
        try:
            if self.read(SETTINGS) is None and self.files.exists(self.root) and self.files.ls(self.root):
                raise ValueError(f"{self.address} holds other files: name a new or an empty folder")
            if self.is_local:
                self._made_folder = not os.path.isdir(self.root)
                os.makedirs(self.root, exist_ok=True)
                ensure_writable(self.path(SETTINGS))
        except OSError as error:
            raise ValueError(f"cannot write to {self.address}: {error.strerror or error}") from error

    def begin(self, settings):
        """
        Notes what the latents depend on, `dict`.

        Raises:
            ValueError: the folder was begun with other settings.
        """
        before = self.read(SETTINGS)
        if before is None:
            self.files.makedirs(self.root, exist_ok=True)
            self._made_settings = True
            self.write(SETTINGS, settings)
        elif before != settings:
            changed = [
                f"{key}: {json.dumps(before.get(key))} then, {json.dumps(settings.get(key))} now"
                for key in sorted({*before, *settings})
                if before.get(key) != settings.get(key)
            ]
            raise ValueError(
                f"{self.address} was begun otherwise ({'; '.join(changed)}): set that back, or name another folder"
            )

    def undo(self):
        """Takes back what `check` and `begin` made, lest it block other settings; not where a shard is there."""
        with suppress(OSError):  # whoever undoes has another error to tell
            names = {PurePosixPath(name).name for name in self.files.ls(self.root, detail=False)}
            if self._made_settings and names == {SETTINGS}:
                self.files.rm_file(self.path(SETTINGS))
                names.clear()
            if self._made_folder and not names:
                os.rmdir(self.root)

    def keep(self):
        """Has `undo` do nothing from now on: others write here, too."""
        self._made_folder = self._made_settings = False

    def number_of_shards(self):
        """How many shards there are, going by the highest number of a file of latents."""
        numbers = [re.fullmatch(r"shard-(\d+)\.c3", name) for name in self.sizes()]
        return max((int(number[1]) + 1 for number in numbers if number), default=0)

    def sizes(self):
        """Bytes of each file of latents that is there, `dict[str, int]`."""
        files = self.files.ls(self.root, detail=True)
        return {PurePosixPath(file["name"]).name: file["size"] for file in files if file["name"].endswith(".c3")}

    def entry(self, shard, sizes=None):
        """
        What is in a finished [`Shard`], `dict`; None where it is not finished, or where its file, going by `sizes`, is
        missing or another one.
        """
        entry = self.read(f"{shard.name}.json")
        if entry is None or (entry["start"], entry["rows"]) != (shard.start, shard.rows):
            return None
        if sizes is not None and entry["file"] is not None and sizes.get(entry["file"]) != entry["bytes"]:
            return None
        return entry

    def finish(self, shard, texts, latents, row_numbers, skipped):
        """
        Writes a shard, and that it is finished.

        Args:
            texts (`list[str or None]`): of its rows.
            latents ([`C3Latents`] or None): of the rows `row_numbers` (`list[int]`, of the data set), in this order.
            skipped (`dict[int, str]`): rows that have none, and why.

        Returns: `dict`, its entry.
        """
        entry = asdict(shard) | {"file": None, "texts": row_numbers, "skipped": {str(k): v for k, v in skipped.items()}}
        entry |= {"sha256": fingerprint_texts(texts), "windows": 0, "latents": 0, "text_tokens": 0, "bytes": 0}
        if latents is not None:
            content = latents.to_bytes()
            entry |= {"file": f"{shard.name}.c3", "windows": latents.num_windows, "latents": latents.num_latents}
            entry |= {"text_tokens": latents.text_tokens, "bytes": len(content)}
            self._write_bytes(entry["file"], content)
        self.write(f"{shard.name}.json", entry)
        return entry

    def end(self, entries):
        """Writes the index of all shards, and returns it, `dict`."""
        index = {"settings": self.read(SETTINGS), "rows": sum(entry["rows"] for entry in entries)}
        for name in ("windows", "latents", "text_tokens", "bytes"):
            index[name] = sum(entry[name] for entry in entries)
        index["skipped"] = {row: why for entry in entries for row, why in entry["skipped"].items()}
        index["shards"] = [{"file": entry["file"], "start": entry["start"], "rows": entry["rows"]} for entry in entries]
        self.write(INDEX, index)
        return index

    def read(self, name):
        """A JSON file of the folder; None where there is none."""
        try:
            return json.loads(self.files.cat_file(self.path(name)))
        except FileNotFoundError:
            return None
        except ValueError:
            raise ValueError(f"{self.address}: {name} is damaged: delete it, or name another folder") from None

    def write(self, name, content):
        self._write_bytes(name, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def _write_bytes(self, name, content):
        # Stores of objects write a whole object or none.
        if self.is_local:
            write_whole(self.path(name), content)
        else:
            self.files.pipe_file(self.path(name), content)
