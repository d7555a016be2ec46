"""
One layout for the decoder's rows: segments, such as a text and the latents of another, to ids, positions, labels and
who may see what.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

IGNORED_LABEL = -100


@dataclass(frozen=True)
class LatentSpan:
    """
    The place of a window's latents.

    Args:
        num_latents (`int`): how many.
        num_tokens (`int`): text tokens that they stand for, counted with the decoder's tokenizer.
        chunk (`int`): number of the chunk of text that they hold, where that stands in the row as well; see
            [`TextSegment`].
    """

    num_latents: int
    num_tokens: int
    chunk: int = 0


@dataclass(frozen=True)
class TextSegment:
    """
    Tokens that the decoder reads, and perhaps learns to say. Where `ids`, `labels` and `hidden` are arrays of shape
    `(rows, length)`, the row that the segment is in stands for as many rows, which differ in nothing else.

    Args:
        ids (`Sequence[int]` or `np.ndarray`): the tokens.
        labels (`Sequence[int]`, *optional*): one for each token, -100 where nothing is learned; by default nothing is.
        hidden (`Sequence[bool]`, *optional*): tokens in whose place the decoder sees its mask embedding.
        replays (`bool`): whether this is the text of the latents, given back. It ends its row.
        chunk (`int`): 0 for what all that follows may see. Text of another chunk is seen from within its chunk only,
            by its text and perhaps its latents; latents are seen by all that follows, as in VIST2 (arXiv 2601.10378).
    """

    ids: Sequence[int]
    labels: Sequence[int] | None = None
    hidden: Sequence[bool] | None = None
    replays: bool = False
    chunk: int = 0


def decoder_rows(rows, layout, latent_token_id, mask_token_id, prompt_positions="consecutive"):
    """
    The decoder's input for rows of segments, padded on the left.

        rows = [[LatentSpan(4, 64), TextSegment(prompt), TextSegment(text, labels=text, replays=True)]]
        batch = decoder_rows(rows, "uniform", latent_token_id, mask_token_id)

    Args:
        rows (`list[list[TextSegment or LatentSpan]]`): the segments of each row, or of several rows alike, in order.
        layout (`str`): see `row_positions`.
        latent_token_id, mask_token_id (`int`): placeholders of a latent and of a hidden token.
        prompt_positions (`str`): see `row_positions`.

    Returns:
        `dict` of `input_ids`, `attention_mask` and `position_ids`, all `(rows, length)`; with `labels` where there are
        some, and with `chunk_ids` where something is hidden from a later chunk: of text the number of its chunk, of
        latents the same below zero, 0 for what all see, see `is_visible`.
    """
    ids = [_ids(row, latent_token_id, mask_token_id) for row in rows]

    def for_each(numbers_of):
        """Of each row, or of several alike, what `numbers_of` a row are, `np.ndarray` of shape `(rows, length)`."""
        return [_repeated(np.atleast_2d(numbers_of(row)), len(each)) for row, each in zip(rows, ids, strict=True)]

    batch = {
        "input_ids": pad_left(ids),
        "attention_mask": pad_left(list(map(np.ones_like, ids))),
        "position_ids": pad_left(
            for_each(lambda row: row_positions(row, layout, prompt_positions)),
            torch.float if layout == "uniform" else torch.long,
        ),
    }
    if any(_labels_of(segment) is not None for row in rows for segment in row):
        batch["labels"] = pad_left(for_each(_labels), fill=IGNORED_LABEL)
    if any(map(_hides, rows)):
        batch["chunk_ids"] = pad_left(for_each(_chunks))
    return batch


def learned_length(row):
    """Positions from a row's first segment with labels to its end (`int`)."""
    learned = [place for place, segment in enumerate(row) if _labels_of(segment) is not None]
    return row_length(row[learned[0] :]) if learned else 0


def is_visible(query_chunks, key_chunks, latents_see_chunk=True):
    """
    Whether positions may see others before them.

    Args:
        query_chunks, key_chunks (`torch.LongTensor`): the `chunk_ids` of both, tensors that broadcast.
        latents_see_chunk (`bool`): whether latents see the text that they hold, see [`C3Config`].
    """
    return (key_chunks <= 0) | (key_chunks == (query_chunks.abs() if latents_see_chunk else query_chunks))


def row_positions(row, layout, prompt_positions):
    """
    Positions of a row, `list` of numbers: where its text is given back those of the layout, else those of prompts; with
    text in chunks `positions_without_hidden_text`.

    Args:
        row (`list[TextSegment or LatentSpan]`): its segments.
        layout (`str`): of `POSITIONS`, see `latent_position_layout` in [`C3Config`].
        prompt_positions (`str`): of `PROMPT_POSITIONS`, see [`C3Config`].
    """
    if any(isinstance(segment, TextSegment) and segment.chunk for segment in row):
        return positions_without_hidden_text(row)
    positions = POSITIONS[layout] if _replays(row) else PROMPT_POSITIONS[prompt_positions]
    return positions(row)


def row_length(row):
    """Positions that a row takes (`int`), wherever they are."""
    return sum(map(_length, row))


def consecutive_positions(row):
    """0, 1, 2, … (`list[int]`): those of any causal language model, and the paper's for the text itself too."""
    return list(range(row_length(row)))


def positions_among_text(row):
    """
    Latent i of N at (i + 0.5) * L / N - 0.5 among the L positions of the text that it stands for (`list[float]`). The
    first latents' text begins at 0. What is asked follows the texts of all latents; but where the text itself is given
    back it takes its own positions once more, and what stands before it those below 0.
    """
    replays = _replays(row)
    before, texts = 0, 0
    for segment in row[: len(row) - replays]:
        if isinstance(segment, LatentSpan):
            texts += segment.num_tokens
        elif replays or not texts:
            before += _length(segment)
    place, latents_place, positions = (-before if texts else 0), 0, []
    for segment in row[: len(row) - replays]:
        if isinstance(segment, LatentSpan):
            start = latents_place if replays else place
            per_latent = segment.num_tokens / segment.num_latents
            positions += [start + (i + 0.5) * per_latent - 0.5 for i in range(segment.num_latents)]
            latents_place += segment.num_tokens
            place += 0 if replays else segment.num_tokens
        else:
            positions += [float(each) for each in range(place, place + _length(segment))]
            place += _length(segment)
    return positions + [float(each) for each in range(_length(row[-1]) if replays else 0)]


def positions_without_hidden_text(row):
    """
    Consecutive positions of all but the text of chunks, which takes none of what follows its chunk (`list[int]`): a
    chunk's text, and its latents as well, begin where all that both see from elsewhere ends, so that after its text is
    gone the rest stands at 0, 1, 2, …
    """
    positions, place, within = [], 0, {}
    for segment in row:
        length = _length(segment)
        if isinstance(segment, TextSegment) and segment.chunk:
            start = place + within.get(segment.chunk, 0)
            within[segment.chunk] = within.get(segment.chunk, 0) + length
        else:
            start = place
            place += length
        positions += range(start, start + length)
    return positions


POSITIONS = {"appended": consecutive_positions, "uniform": positions_among_text}
PROMPT_POSITIONS = {"consecutive": consecutive_positions, "among_text": positions_among_text}


def pad_left(rows, dtype=torch.long, fill=0):
    """Rows of numbers, or arrays `(rows, length)` of several, as a tensor `(rows, longest)`, filled up on the left."""
    blocks = list(map(np.atleast_2d, rows))
    lengths = np.repeat([block.shape[1] for block in blocks], list(map(len, blocks)))
    return pad_flat(np.concatenate([block.ravel() for block in blocks]), lengths, dtype, fill)


def pad_flat(values, lengths, dtype=torch.long, fill=0):
    """
    As `pad_left`, of rows that follow one another.

    Args:
        values (`np.ndarray` of shape `(numbers,)`): of all rows.
        lengths (`np.ndarray` of shape `(rows,)`): numbers of each.
    """
    longest = int(lengths.max())
    padded = torch.full((len(lengths), longest), fill, dtype=dtype)
    is_filled = np.arange(longest) >= longest - lengths[:, None]
    # What is written to the array is in the tensor.
    padded.numpy()[is_filled] = values
    return padded


def _replays(row):
    return bool(row) and getattr(row[-1], "replays", False)


def _length(segment):
    if isinstance(segment, LatentSpan):
        return segment.num_latents
    return segment.ids.shape[-1] if isinstance(segment.ids, np.ndarray) else len(segment.ids)


def _joined(pieces):
    """The pieces of a row, or of several alike, after one another, `np.ndarray` of shape `(rows, length)`."""
    blocks = [np.array(piece, dtype=np.int64, ndmin=2) for piece in pieces]
    rows = max(map(len, blocks))
    return np.concatenate([_repeated(each, rows) for each in blocks], axis=1)


def _repeated(block, rows):
    """An array of one row as one of so many, where it has not as many."""
    return block if len(block) == rows else block.repeat(rows, axis=0)


def _ids(row, latent_token_id, mask_token_id):
    pieces = []
    for segment in row:
        if isinstance(segment, LatentSpan):
            pieces.append([latent_token_id] * segment.num_latents)
        elif segment.hidden is None:
            pieces.append(segment.ids)
        else:
            pieces.append(np.where(segment.hidden, mask_token_id, segment.ids))
    return _joined(pieces)


def _labels_of(segment):
    return getattr(segment, "labels", None)


def _labels(row):
    labels = [_labels_of(segment) for segment in row]
    return _joined(
        [IGNORED_LABEL] * _length(segment) if ours is None else ours for segment, ours in zip(row, labels, strict=True)
    )


def _chunks(row):
    return [
        -segment.chunk if isinstance(segment, LatentSpan) else segment.chunk
        for segment in row
        for _ in range(_length(segment))
    ]


def _hides(row):
    """Whether some text is of a chunk that its latents follow, or something of another chunk."""
    hidden = set()
    for segment in row:
        if hidden - {segment.chunk} or (hidden and isinstance(segment, LatentSpan)):
            return True
        if isinstance(segment, TextSegment) and segment.chunk and _length(segment):
            hidden.add(segment.chunk)
    return False


__all__ = [
    "LatentSpan",
    "TextSegment",
    "decoder_rows",
    "is_visible",
    "learned_length",
    "pad_left",
    "row_length",
    "row_positions",
]
