"""
Pages of the Fox benchmark.

Fox (Liu et al. 2024, "Focus Anywhere for Fine-grained Multi-page Document Understanding", arXiv 2405.14295) may be used
for research only: it is fetched at run time and never shipped. Its page task is a list of `{"image", "len",
"conversations": [{"from": "human", …}, {"from": "gpt", "value": text}]}` in `en_page_ocr.json` and `cn_page_ocr.json`.
"""

import hashlib
import json
import zipfile
from pathlib import Path

from c3.support.loading import find_source

from .page_data import Page

FOX_REPOSITORY, FOX_ARCHIVE = "ucaslcl/Fox_benchmark_data", "focus_benchmark_test.zip"
# The files of the page task and their pages: with another number they are not the benchmark.
FOX_FILES = {"en_page_ocr.json": 112, "cn_page_ocr.json": 100}
FOX = "Fox"


def fox_files(source):
    """
    The files of pages in Fox's zip, folder or page file, or in the Hub's for `"fox"`, as a list of (name, function that
    reads it: `(limit) -> (pages, what a result file says of it, ids of pages without text)`); None for anything else.
    """
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
        return None
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
