"""What of a recipe may be published: no tokens, and of local files only the names."""

import os
import re
from dataclasses import asdict, is_dataclass
from pathlib import Path

SECRET_KEYS = frozenset("token hub_token use_auth_token password secret api_key".split())
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
DATA_SUFFIXES = {".parquet", ".jsonl", ".json", ".txt", ".csv", ".arrow", ".gz", ".zst"}
LOCAL_PREFIXES = ("./", "../", "~/", "file://")


def without_secrets(value):
    """A copy of values of a recipe, `dict`, `list`, dataclass or plain, without tokens and the folders of files."""
    if is_dataclass(value):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: without_secrets(each) for key, each in value.items() if key not in SECRET_KEYS}
    if isinstance(value, (list, tuple)):
        return [without_secrets(each) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return Path(text).name if isinstance(value, os.PathLike) or _is_local(text) else text


def hub_ids(sources):
    """Those of the data sources that are Hub ids, `list[str]`; a source is a string or holds one."""
    strings = (each for source in sources for each in _strings(source))
    return list(dict.fromkeys(each for each in strings if HUB_ID.fullmatch(each) and not _is_local(each)))


def _strings(value):
    if is_dataclass(value):
        value = asdict(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [string for each in value for string in _strings(each)]
    return [value] if isinstance(value, str) else []


def _is_local(text):
    """Whether this names a file or a folder here; prompts, which may begin with a slash too, do not."""
    return "/" in text and (
        text.startswith(LOCAL_PREFIXES)
        or (text.startswith("/") and text.count("/") > 1 and not re.search(r"\s", text))
        or os.path.exists(text)
        or Path(text).suffix.lower() in DATA_SUFFIXES
    )
