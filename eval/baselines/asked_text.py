"""
What stands before a question, by name: the text's latents, or what people take in their place. Each is a function
`(model, examples, options) -> list[Standing]`, one for each [`AskedExample`]; to add one, register it in `WAYS`.

As text that is given raw is laid out in training, its tokens stand where latents would.
"""

from dataclasses import dataclass
from functools import partial

import torch

from c3.decoder_rows_c3 import TextSegment

from .c3 import compress_together
from .mean_pooling import MEAN_POOLING, pool_examples
from .retrieval import RankedText

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
    texts = {example.page.text for example in examples}
    ids = {text: model.processor.encode(text) for text in texts}
    return [_as_text(keep(ids[example.page.text], example.latents)) for example in examples]


def _as_text(ids):
    return Standing([TextSegment(ids)] if ids else [])


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
    """Each text is ranked once for each question."""
    asked = {(example.page.text, example.prompt) for example in examples}
    ranked = {each: RankedText(model.processor, *each) for each in asked}
    return [_as_text(ranked[each.page.text, each.prompt].best(each.latents)) for each in examples]


WAYS = {
    LATENTS: partial(_latents, compress=compress_together),
    RAW: partial(_tokens, keep=lambda ids, count: ids),
    "head": partial(_tokens, keep=head),
    "tail": partial(_tokens, keep=tail),
    "both-ends": partial(_tokens, keep=both_ends),
    RETRIEVAL: _retrieved,
    MEAN_POOLING: partial(_latents, compress=pool_examples),
    NOTHING: partial(_tokens, keep=lambda ids, count: []),
}
