"""
Pages for the suites, from the Fox benchmark or from any file of pages.

Fox (Liu et al. 2024, "Focus Anywhere for Fine-grained Multi-page Document Understanding", arXiv 2405.14295) may be used
for research only: it is fetched at run time and never shipped. Its page task is a list of `{"image", "len",
"conversations": [{"from": "human", …}, {"from": "gpt", "value": text}]}` in `en_page_ocr.json` and `cn_page_ocr.json`.
"""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

from c3.quoting_c3 import quoted
from c3.support.loading import find_source

from .page_data import Page, read_pages

FOX_REPOSITORY, FOX_ARCHIVE = "ucaslcl/Fox_benchmark_data", "focus_benchmark_test.zip"
# The files of the page task and their pages: with another number they are not the benchmark.
FOX_FILES = {"en_page_ocr.json": 112, "cn_page_ocr.json": 100}
FOX = "Fox"


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
        for name, read in _files(source):
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


def _files(source):
    """(name, function that reads it) of every file of pages in a source."""
    path = Path(source)
    if source == "fox" and not path.exists():
        from huggingface_hub import hf_hub_download

        source = find_source(FOX_REPOSITORY, "the Fox benchmark", [FOX_ARCHIVE], "dataset")
        path = Path(hf_hub_download(FOX_REPOSITORY, FOX_ARCHIVE, repo_type="dataset", **source))
    if path.is_dir():
        found = {name: [file for file in path.rglob(name) if _is_wanted(file)] for name in FOX_FILES}
        contents = [(f"{path.name}/{name}", name, min(files).read_bytes) for name, files in found.items() if files]
    elif path.suffix == ".zip":
        contents = _in_archive(path)
    elif path.name in FOX_FILES and path.is_file():
        contents = [(path.name, path.name, path.read_bytes)]
    else:
        return [(path.name, lambda limit: _read_plain(path, limit))]
    if not contents:
        raise ValueError(f"{path} is not the Fox benchmark: it holds neither {' nor '.join(FOX_FILES)}")
    return [
        (shown, lambda limit, shown=shown, name=name, read=read: _read_fox(shown, name, read(), limit))
        for shown, name, read in contents
    ]


def _in_archive(path):
    if not path.is_file():
        raise FileNotFoundError(f"no such data file: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(member).name: member for member in archive.namelist() if _is_wanted(Path(member))}
            held = {name: archive.read(members[name]) for name in FOX_FILES if name in members}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} cannot be read as a zip archive: {error}") from None
    return [(f"{path.name}/{name}", name, lambda content=content: content) for name, content in held.items()]


def _is_wanted(path):
    # What macOS adds to archives has the same names.
    return "__MACOSX" not in path.parts


def _read_plain(path, limit):
    pages, empty = read_pages(path, limit)
    return pages, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "benchmark": None}, empty


def _read_fox(shown, name, content, limit):
    try:
        entries = json.loads(content)
        texts = [_answer(entry) for entry in entries]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{shown} is not a list of Fox pages with `conversations`") from None
    language = name[:2]
    pages = [Page(f"{language}_{number}", "", text) for number, text in enumerate(texts[:limit], 1)]
    empty = [page.id for page in pages if not page.text.strip()]
    complete = len(texts) == FOX_FILES[name]
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "benchmark": FOX if complete else None}
    return [page for page in pages if page.text.strip()], entry, empty


def _answer(entry):
    (text,) = [turn["value"] for turn in entry["conversations"] if turn["from"] == "gpt"]
    if not isinstance(text, str):
        raise TypeError
    return text


def is_fox(result):
    """Whether every file of a result is a whole file of the Fox benchmark, and all of it was read."""
    return result["options"]["limit"] is None and all(each["benchmark"] == FOX for each in result["data"])
