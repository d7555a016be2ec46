"""Pages to measure on: read from a file, counted, and how many latents each gets."""

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from transformers import AutoTokenizer

from c3.fingerprints_c3 import fingerprint_tokenizer
from c3.quoting_c3 import listed, printable, quoted
from c3.support.loading import find_source
from c3.support.without_secrets import without_secrets


@dataclass(frozen=True)
class Page:
    """
    A page and its size: in tokens of the counting tokenizer, in tokens of the model's encoder, and in windows, of which
    it has more where latents have to stand for equally many tokens.
    """

    id: str
    source: str
    text: str
    counted_tokens: int = 0
    own_tokens: int = 0
    min_windows: int = 0


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
        rows = _read_parquet(path)
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


def _read_parquet(path):
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ValueError("reading .parquet files needs pyarrow: pip install 'c3-latent[eval]'") from None
    try:
        table = parquet.read_table(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as parquet: {printable(error)}") from None
    if "text" not in table.column_names:
        raise ValueError(f"{path} has no column 'text'; it has {listed(table.column_names)}")
    return table.select([name for name in ("id", "source", "text") if name in table.column_names]).to_pylist()


def _read_json_line(path, number, line):
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number} is not a JSON object")
    return row


def describe_pages(result):
    """How many pages of which files a result is of, `str`."""
    limit = result["options"]["limit"]
    rows = "" if limit is None else f" (its first {limit} rows)"
    return " and ".join(f"{each['n_pages']} pages of {each['name']}{rows}" for each in result["data"])


def count_page(page, model, counter, window):
    """The page with its sizes; `counter` is a tokenizer, or None to count the encoder's own tokens."""
    try:
        windows = model.processor.split(page.text, window)
    except ValueError as error:
        raise ValueError(f"page {quoted(page.id)}: {error}") from None
    own = sum(len(each.context_ids) for each in windows)
    counted = own if counter is None else len(plain_ids(counter, page.text))
    return replace(page, counted_tokens=counted, own_tokens=own, min_windows=len(windows))


def load_counter(name):
    """The tokenizer that counts a ratio's tokens; None for None, which stands for the encoder's own."""
    if name is None:
        return None
    try:
        return AutoTokenizer.from_pretrained(name, **find_source(name, "a tokenizer"))
    except (OSError, ValueError) as error:
        raise OSError(f"the tokenizer to count with, {name}: {error}") from error


def describe_counter(name, counter):
    """What a result file says of the tokenizer of its ratios, `dict`; of a folder the name only. None for None."""
    if counter is None:
        return None
    return {"name": without_secrets(name), "fingerprint": fingerprint_tokenizer(counter)}


def plain_ids(tokenizer, text):
    """Ids of a text, `list[int]`, all of it as text: special tokens are neither recognised nor added."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def wanted_latents(page, ratio):
    """Latents of a counted page: floor(counted tokens / ratio), at most its encoder tokens, at least its windows."""
    # The ratio as it was typed: as a binary fraction 20.1 is another number, and a floor may fall on its wrong side.
    return max(page.min_windows, min(page.own_tokens, int(page.counted_tokens // Fraction(str(ratio)))))


def own_ratio(page, total):
    """What to ask `compress` for, which makes int(encoder tokens / ratio) latents, to get `total`."""
    # Half a latent away from where int() could round to another number.
    return max(1.0, page.own_tokens / (total + 0.5))
