"""
What the decoder reads as the tokens of a text and not as latents: a whole text, or windows whose latents do not hold
enough of it.
"""

from dataclasses import replace

import torch

from .corrections_c3 import InexactTextError, TextCorrections, checksum_of_ids
from .decoder_rows_c3 import LatentSpan, TextSegment
from .expansion_c3 import NOT_EXACT, unpacked_corrections
from .options_c3 import plain_number
from .texts_c3 import check_text


class RawText:
    """
    A text of which there are no latents, in the place of [`C3Latents`] of one window: `RawText(model, "a text")`.

    Args:
        model ([`C3Model`]): the model.
        text (`str`): the text.

    Raises:
        ValueError: empty, or no valid Unicode.
    """

    def __init__(self, model, text):
        check_text(text)
        self.spans = [[TextSegment(model.processor.encode(text))]]
        self.values = torch.empty(0, model.config.hidden_size)

    def __len__(self):
        return 1


def checked_raw_below(raw_below, latents):
    """`raw_below` of `C3Model.generate` as Python's own number, or None; `ValueError` for what it cannot be."""
    if raw_below is None:
        return None
    number = plain_number(raw_below)
    if number is None or not number >= 0:
        raise ValueError(f"raw_below must be a number of 0 or more (a fidelity), not {raw_below!r}.")
    if getattr(latents, "corrections", None) is None:
        raise ValueError(
            "raw_below reads the text of windows from their corrections, which these latents do not have: make them "
            "with compress(text, exact=True)."
        )
    return number


def spans_as_read(latents, raw_below):
    """
    `latents.spans` as `with_raw_windows` will have them: a window that is to be read as its tokens takes as many
    positions as it has of these.
    """
    if raw_below is None or isinstance(latents, RawText):
        return latents.spans
    is_raw = _is_raw(latents, raw_below)
    return [
        [
            LatentSpan(span.num_tokens, span.num_tokens) if is_raw[place] else span
            for place, span in zip(owned, text, strict=True)
        ]
        for owned, text in zip(latents.windows_of_texts, latents.spans, strict=True)
    ]


def with_raw_windows(model, latents, raw_below):
    """
    The segments of each text's windows, of which those of a lower fidelity are their tokens.

    Args:
        model ([`C3Model`]): the model.
        latents ([`C3Latents`] or [`RawText`]): with corrections, where there is a fidelity.
        raw_below (`float`, *optional*): the fidelity from which on the latents of a window are read.

    Returns:
        `list[list[LatentSpan or TextSegment]]`, for each text, and the latents of the spans, `(latents, D_dec)`.

    Raises:
        InexactTextError: a window's tokens are not those that were compressed.
    """
    if raw_below is None or isinstance(latents, RawText):
        return latents.spans, latents.values
    is_raw = _is_raw(latents, raw_below)
    ids = _text_ids(model, latents, [place for place, raw in enumerate(is_raw) if raw])
    spans = [
        [TextSegment(ids[place]) if is_raw[place] else span for place, span in zip(owned, text, strict=True)]
        for owned, text in zip(latents.windows_of_texts, latents.spans, strict=True)
    ]
    is_read = torch.tensor([not raw for raw in is_raw]).repeat_interleave(latents.latent_lengths)
    return spans, latents.values[is_read.to(latents.device)]


def _is_raw(latents, raw_below):
    return [fidelity < raw_below for fidelity in latents.window_fidelities]


def _text_ids(model, latents, places):
    """The ids of the windows at some places among all, `dict[int, list[int]]`; no others are decoded."""
    texts = unpacked_corrections(latents, model.config.decoder_config.vocab_size)
    windows = [(text, number) for text, owned in enumerate(latents.windows_of_texts) for number in range(len(owned))]
    stored, checksums = [], []
    for text, number in (windows[place] for place in places):
        stored.append(texts[text].windows[number])
        checksums.append(texts[text].window_checksums[number])
    if not places:
        return {}
    values, chosen = latents.windows(), torch.tensor(places)
    part = replace(
        latents,
        values=torch.cat([values[place] for place in places]),
        latent_lengths=latents.latent_lengths[chosen],
        text_lengths=latents.text_lengths[chosen],
        window_counts=torch.tensor([len(places)]),
        corrections=None,
        single=False,
        check_finite=False,
    )
    corrections = [TextCorrections(stored, checksums, 0)]
    decoded = {i: window.ids for i, window in model.expand_windows(part, corrections)}
    for i, place in enumerate(places):
        if checksum_of_ids(decoded[i]) != checksums[i]:
            text, number = windows[place]
            raise InexactTextError(f"text {text}, window {number}, {NOT_EXACT}")
    return {place: decoded[i] for i, place in enumerate(places)}


__all__ = ["RawText", "checked_raw_below", "spans_as_read", "with_raw_windows"]
