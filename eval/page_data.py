"""Pages to measure on, counted, and how many latents each gets."""

from dataclasses import dataclass, replace
from fractions import Fraction

from transformers import AutoTokenizer

from c3.fingerprints_c3 import fingerprint_tokenizer
from c3.quoting_c3 import quoted
from c3.support.loading import find_source
from c3.support.without_secrets import without_secrets


@dataclass(frozen=True)
class Page:
    """
    A page and its size: in tokens of the counting tokenizer, in tokens of the model's decoder, and in windows, of which
    it has more where latents have to stand for equally many tokens.
    """

    id: str
    source: str
    text: str
    counted_tokens: int = 0
    own_tokens: int = 0
    min_windows: int = 0


def describe_pages(result):
    """How many pages of which files a result is of, `str`."""
    limit = result["options"]["limit"]
    rows = "" if limit is None else f" (its first {limit} rows)"
    return " and ".join(f"{each['n_pages']} pages of {each['name']}{rows}" for each in result["data"])


def count_page(page, model, counter, window):
    """
    The page with its sizes; `counter` is a tokenizer, or None to count the model's own tokens. A text without windows,
    as a [`PageReader`] reads it, is one.
    """
    try:
        lengths = _own_lengths(page.text, model, window)
    except ValueError as error:
        raise ValueError(f"page {quoted(page.id)}: {error}") from None
    own = sum(lengths)
    counted = own if counter is None else len(plain_ids(counter, page.text))
    return replace(page, counted_tokens=counted, own_tokens=own, min_windows=len(lengths))


def _own_lengths(text, model, window):
    """The model's own tokens of each window, `list[int]`."""
    return [len(plain_ids(model.tokenizer, text))] if window is None else model.processor.split(text, window).lengths


def load_counter(name):
    """The tokenizer that counts a ratio's tokens; None for None, which stands for the model's own."""
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
    """Latents of a counted page: floor(counted tokens / ratio), at most its own tokens, at least its windows."""
    # The ratio as it was typed: as a binary fraction 20.1 is another number, and a floor may fall on its wrong side.
    return max(page.min_windows, min(page.own_tokens, int(page.counted_tokens // Fraction(str(ratio)))))


def own_ratio(page, total):
    """What to ask `compress` for, which makes int(own tokens / ratio) latents, to get `total`."""
    # Half a latent away from where int() could round to another number.
    return max(1.0, page.own_tokens / (total + 0.5))


def windows_of_page(page, total, model, window):
    """The ids, `list[list[int]]`, of the windows into which `compress` cuts a page for so many latents."""
    plan = model.processor.plan(page.text, ratio=own_ratio(page, total), window=window)
    return [each.text_ids for each in plan.windows]
