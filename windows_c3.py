"""How a text is cut into windows, and how many latents each window gets."""

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, NamedTuple

from .decoder_rows_c3 import LatentSpan

PIECE = 1 << 16  # characters: some megabytes of memory, and far more than a cut costs
MARGIN = 256  # characters on each side of a cut that have to come out the same
WORD_BOUNDARY = re.compile(r"\b")
MOST_TRIES = 64  # word boundaries that are tried for a cut


@dataclass(frozen=True)
class TextWindow:
    """One window of a text: what the encoder reads of it, and its ids, `list[int]`, of the decoder's tokenizer."""

    context: Any
    text_ids: list[int]


class TextWindows(Sequence):
    """
    The windows of a text as numbers: a long text takes four bytes for each of its tokens, and a window is cut when it
    is asked for.

    Args:
        ids (`array.array`): the decoder's ids of the whole text.
        starts (`list[int]`): where each window begins; W + 1 numbers, the last one the number of ids.
        contexts (`Sequence`, *optional*): what the encoder reads of each window; by default the window's ids.
    """

    def __init__(self, ids, starts, contexts=None):
        self.ids, self.starts, self.contexts = ids, starts, contexts

    @property
    def lengths(self):
        """`list[int]`: tokens of each window."""
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]

    def __len__(self):
        return len(self.starts) - 1

    def __getitem__(self, index):
        places = range(len(self))[index]
        if isinstance(index, slice):
            return [self[place] for place in places]
        ids = self.ids[self.starts[places] : self.starts[places + 1]].tolist()
        return TextWindow(ids if self.contexts is None else self.contexts[places], ids)


class ContextsOfText(Sequence):
    """
    What the encoder reads of each window of a text, made when it is asked for: a picture takes far more memory than the
    words in it.

    Args:
        text (`str`): the text.
        begins (`list[int]`): where in the text each window begins; W + 1 numbers, the last one its length.
        context_of (`Callable[[str], Any]`): what the encoder reads of the text of a window.
    """

    def __init__(self, text, begins, context_of):
        self.text, self.begins, self.context_of = text, begins, context_of

    def __len__(self):
        return len(self.begins) - 1

    def __getitem__(self, index):
        place = range(len(self))[index]
        return self.context_of(self.text[self.begins[place] : self.begins[place + 1]])


class WindowPlan(NamedTuple):
    """The windows of a text and N of each, `list[int]`."""

    windows: TextWindows
    num_latents: list[int]

    @property
    def spans(self):
        """`list[LatentSpan]`: the place of each window's latents in a row of the decoder."""
        return list(map(LatentSpan, self.num_latents, self.windows.lengths))


class WindowsOfTexts(Sequence):
    """The windows of several texts, `list[WindowPlan]`, one after another; each is cut when it is asked for."""

    def __init__(self, plans):
        self.plans = plans
        self.lengths = [length for plan in plans for length in plan.windows.lengths]
        self.num_latents = [n for plan in plans for n in plan.num_latents]
        self._firsts = [0, *accumulate(len(plan.windows) for plan in plans)]

    def __len__(self):
        return self._firsts[-1]

    def __getitem__(self, index):
        place = range(len(self))[index]
        text = bisect_right(self._firsts, place) - 1
        return self.plans[text].windows[place - self._firsts[text]]


def windows_at(lengths, ids):
    """[`TextWindows`] of so many tokens each (`list[int]`), which together are all of `ids`."""
    return TextWindows(ids, [0, *accumulate(lengths)])


def windows_at_characters(text, ids, offsets, window, context_of):
    """
    Windows between whole characters, for encoders that read a window's text and not its ids.

    Args:
        text (`str`): the text.
        ids (`list[int]`), offsets (`list[tuple[int, int]]`): its tokens, and where in the text each begins and ends.
        window (`int`): tokens of a window, at most.
        context_of (`Callable[[str], Any]`): what the encoder reads of the text of a window.

    Returns: [`TextWindows`].

    Raises:
        ValueError: a character that does not fit into a window.
    """
    starts, begins = [0], [0]
    while starts[-1] < len(ids):
        start = starts[-1]
        end = min(start + window, len(ids))
        # Several tokens may share one character, and a token may stand for none.
        while start < end < len(ids) and offsets[end][0] < _end_of_text(offsets, end, begins):
            end -= 1
        if end == start:
            raise ValueError(f"The character at {begins[-1]} takes more tokens than window={window}; use a larger one.")
        starts.append(end)
        # Spaces that belong to no token go with the token after them, as tokenizers decode them.
        begins.append(_end_of_text(offsets, end, begins) if end < len(ids) else len(text))
    return TextWindows(array("i", ids), starts, ContextsOfText(text, begins, context_of))


def _end_of_text(offsets, end, begins):
    """Where the text of a window ends whose last token is the one before `end`: it has a character at least."""
    return max(offsets[end - 1][1], begins[-1] + 1)


def even_windows(length, num_latents, window):
    """
    Windows in which every latent stands for equally many tokens, a whole number: with the uniform layout all latents of
    a window then sit alike among their tokens, which is what is trained.

    Args:
        length (`int`): tokens of the text.
        num_latents (`int`): latents of the text; at least one per window and at most one per token are given.
        window (`int`): most tokens of a window.

    Returns:
        `list[tuple[int, int]]`: tokens and latents of each window. The tokens per latent of two windows differ by at
        most one, and the windows of each kind are about equally long.
    """
    num_latents = min(max(num_latents, math.ceil(length / window)), length)
    shorter, num_longer = divmod(length, num_latents)
    plan = []
    for tokens_per_latent, count in ((shorter + 1, num_longer), (shorter, num_latents - num_longer)):
        num_windows = math.ceil(count / (window // tokens_per_latent)) if count else 0
        for i in range(num_windows):
            n = count * (i + 1) // num_windows - count * i // num_windows
            plan.append((n * tokens_per_latent, n))
    return plan


def check_windows(latent_lengths, text_lengths, most_latents, most_tokens, one_each=False):
    """
    Raises `ValueError` unless every window is one that a model can have made.

    Args:
        latent_lengths, text_lengths (`list[int]`): latents and text tokens of each window.
        most_latents, most_tokens (`int`): of a window.
        one_each (`bool`): whether a window has no more latents than tokens.
    """
    for i, (latents, tokens) in enumerate(zip(latent_lengths, text_lengths, strict=True)):
        for name, count, most in (("latents", latents, most_latents), ("text tokens", tokens, most_tokens)):
            if not 1 <= count <= most:
                raise ValueError(f"window {i} has {count} {name}, but this model's windows have 1 to {most}")
        if one_each and latents > tokens:
            raise ValueError(f"window {i} has {latents} latents for {tokens} text tokens, but this model's no more")


def share_latents(lengths, num_latents):
    """
    Shares the latents of a text out among windows that are already cut.

    Args:
        lengths (`list[int]`): tokens of each window.
        num_latents (`int`): latents of the text; at least one per window is given.

    Returns: `list[int]`, N of each window, in proportion to its tokens.
    """
    text_length = sum(lengths)
    num_latents = max(len(lengths), num_latents)
    ends = [round(num_latents * seen / text_length) for seen in accumulate(lengths)]
    counts = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    # A short last window may be left with none: it takes one from the richest near it.
    for i, count in enumerate(counts):
        if count == 0:
            counts[max(range(len(counts)), key=lambda j: (counts[j], j))] -= 1
            counts[i] = 1
    return counts


def encode_in_pieces(encode, text, piece=PIECE):
    """
    Ids of a text as `encode` gives them for the whole of it: for 5 MB at once a tokenizer of the `tokenizers` library
    takes 700 MB of memory, and more time.

    A text is only cut where the tokenizer itself shows that a cut changes nothing: where the ids of the characters
    around it are those before it and those after it. Where it does not, as where every text gets a mark at its start,
    the rest of the text stays whole.

    Args:
        encode (`Callable[[str], list[int]]`): a tokenizer that adds no special tokens.
        text (`str`): of any length.
        piece (`int`): least number of characters of a piece.

    Returns: `array.array` of ints, four bytes each.
    """
    ids, start = array("i"), 0
    while start < len(text):
        end = _next_cut(encode, text, start + piece)
        ids.extend(encode(text[start:end]))
        start = end
    return ids


def _next_cut(encode, text, earliest):
    """The first harmless cut among the word boundaries from a place on, or the end of the text."""
    # Past the end of the text there is none.
    for boundary in islice(WORD_BOUNDARY.finditer(text, earliest), MOST_TRIES):
        cut = boundary.start()
        before, after = text[max(cut - MARGIN, 0) : cut], text[cut : cut + MARGIN]
        if encode(before + after) == encode(before) + encode(after):
            return cut
    return len(text)
