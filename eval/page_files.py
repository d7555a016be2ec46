"""Reads pages: from .parquet and .jsonl files, and from the Fox benchmark."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from c3.quoting_c3 import listed, printable, quoted
from c3.support.errors import pip_install

from .fox_data import fox_files
from .page_data import Page


def read_data(sources, limit=None):
    """
    Args:
        sources (`list[str]`): files of pages, see `read_pages`; Fox's zip, folder or page files; `"fox"` for the Hub's.
        limit (`int`, *optional*): the first so many pages of each file only.

    Returns:
        `tuple[list[Page], list[dict], list[str]]`: the pages, not yet counted; name, checksum, number of pages and,
        where it is one, benchmark of each file; and one line for each kind of page left out.

    Raises: `OSError`, `ValueError` saying in one line what is wrong with which file.
    """
    pages, data, left_out = [], [], []
    for source in sources:
        for name, read in fox_files(source) or [_plain_file(source)]:
            found, entry, empty = read(limit)
            if empty:
                left_out.append(f"{len(empty)} pages of {name} without text ({', '.join(empty)})")
            entry = {"name": name, **entry, "n_pages": len(found), "empty_pages": empty}
            pages += [replace(page, id=f"{len(data)}:{page.id}") for page in found] if data else found
            data.append(entry)
    seen = set()
    for page in pages:
        if page.id in seen:
            raise ValueError(f"two pages have the id {quoted(page.id)}: give each its own")
        seen.add(page.id)
    return pages, data, left_out


def _plain_file(source):
    """As one of `fox_files`."""
    path = Path(source)

    def read(limit):
        pages, empty = read_pages(path, limit)
        return pages, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "benchmark": None}, empty

    return path.name, read


def read_pages(path, limit=None):
    """
    Pages of a .parquet or .jsonl file with a column `text` and perhaps `id` (by default the row number, from 1) and
    `source`; of the first `limit` rows.

    Returns: `tuple[list[Page], list[str]]`, the pages, not yet counted, and the ids of those that hold no text.

    Raises: `OSError`, `ValueError` saying in one line what is wrong with the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such data file: {path}")
    if path.suffix == ".parquet":
        rows = read_parquet(path, ("id", "source", "text"))
    elif path.suffix in (".jsonl", ".json"):
        lines = path.read_bytes().splitlines()
        rows = [_read_json_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    else:
        raise ValueError(f"{path} is neither a .parquet nor a .jsonl file")
    pages, empty = [], []
    for number, row in enumerate(rows[:limit], 1):
        if "text" not in row:
            raise ValueError(f"{path} has no column 'text' (row {number}); it has {listed(row) or 'none'}")
        name, text = str(number if row.get("id") is None else row["id"]), row["text"]
        if not isinstance(text, str | None):
            raise ValueError(f"{path}: the text of page {quoted(name)} is not a string but {type(text).__name__}")
        if text and text.strip():
            pages.append(Page(name, str(row.get("source") or ""), text))
        else:
            empty.append(name)
    if not pages:
        raise ValueError(f"{path} holds no page with text ({len(empty)} empty)")
    return pages, empty


def read_parquet(path, columns=None):
    """
    Rows of a .parquet file of pages, `list[dict]`, with those of the named columns that there are, by default all.

    Raises: `ValueError` saying in one line what is wrong: pyarrow is missing, another file, or no column `text`.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ValueError(f"reading .parquet files needs pyarrow: {pip_install('eval')}") from None
    try:
        table = parquet.read_table(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as parquet: {printable(error)}") from None
    if "text" not in table.column_names:
        raise ValueError(f"{path} has no column 'text'; it has {listed(table.column_names)}")
    return table.select([name for name in table.column_names if columns is None or name in columns]).to_pylist()


def _read_json_line(path, number, line):
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number} is not a JSON object")
    return row
