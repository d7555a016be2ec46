"""
What stands before a question, by name: the text's latents, or what people take in their place. Each is a function
`(model, examples, options) -> list[Standing]`, one for each [`AskedExample`]; to add one, register it in `WAYS`.

As text that is given raw is laid out in training, its tokens stand where latents would.
"""

from dataclasses import dataclass
from functools import partial

import torch

from c3.decoder_rows_c3 import TextSegment

from .c3 import compress_examples
from .mean_pooling import pool_examples
from .retrieval import best_tokens

LATENTS, RAW, NOTHING, RETRIEVAL = "latents", "raw-text", "no-text", "bm25"


@dataclass(frozen=True)
class Standing:
    """
    Args:
        segments (`list[LatentSpan or TextSegment]`): what stands before the question, for `C3Processor.row`.
        values (`torch.Tensor` of shape `(latents, D_dec)`, *optional*): latents among them.
    """

    segments: list
    values: torch.Tensor | None = None


def _latents(model, examples, options, compress):
    """Those of each text at each ratio are made once."""
    different = {(example.page.text, example.latents): example for example in examples}
    made = dict(zip(different, compress(model, list(different.values()), options), strict=True))
    parts = [made[example.page.text, example.latents] for example in examples]
    return [Standing(part.spans[0], part.values) for part in parts]


def _tokens(model, examples, options, keep):
    """`keep` is `(ids of the text, number of latents) -> ids`."""
    kept = [keep(model.processor.encode(example.page.text), example.latents) for example in examples]
    return [Standing([TextSegment(ids)] if ids else []) for ids in kept]


def head(ids, count):
    """The first tokens."""
    return ids[:count]


def tail(ids, count):
    """The last tokens."""
    return ids[max(0, len(ids) - count) :]


def both_ends(ids, count):
    """The first half of so many tokens, and the last."""
    return ids if len(ids) <= count else ids[: -(-count // 2)] + tail(ids, count // 2)


def _retrieved(model, examples, options):
    kept = [best_tokens(model.processor, each.page.text, each.prompt, each.latents) for each in examples]
    return [Standing([TextSegment(ids)] if ids else []) for ids in kept]


WAYS = {
    LATENTS: partial(_latents, compress=compress_examples),
    RAW: partial(_tokens, keep=lambda ids, count: ids),
    "head": partial(_tokens, keep=head),
    "tail": partial(_tokens, keep=tail),
    "both-ends": partial(_tokens, keep=both_ends),
    RETRIEVAL: _retrieved,
    "mean-pooling": partial(_latents, compress=pool_examples),
    NOTHING: partial(_tokens, keep=lambda ids, count: []),
}
