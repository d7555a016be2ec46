"""
What half precision changes in the texts: bfloat16, where rounding may choose another of two likely tokens.

Baseline: the plain path, transformers' `generate` on each window by itself, in bfloat16. The fast paths, which compute
the same in passes of other shapes, are to give the same text; the fraction of windows that do is reported. So is the
fraction whose text is that of float32, which says what the dtype itself costs. No limit, and no time is measured.
"""

import copy

import torch

from .expand_windows import generate_options
from .harness import Benchmark, value_row

RATIO = 4
DTYPE = torch.bfloat16


def measure(setup):
    model = setup.model
    latents = setup.windows(setup.pick(8, 3), RATIO)
    count = len(latents)
    half = model if model.dtype == DTYPE else _in_half_precision(model)
    read = {"allow_mismatch": True, "batch_size": count, "show_progress": False}
    options = generate_options(model, int(latents.text_lengths[0]))
    plain = [half.generate(window, allow_mismatch=True, **options) for window in latents]
    texts = {
        f"{count} windows in a batch, one token a pass": half.expand(latents, method="greedy", **read),
        f"{count} windows in a batch, drafted in parallel": half.expand(latents, method="parallel", **read),
        "windows one by one, drafted in parallel": [
            half.expand(window, method="parallel", **read | {"batch_size": 1}) for window in latents
        ],
    }
    rows = [
        value_row(f"{case}: texts as of generate, all in bfloat16", _equal(found, plain), "equal")
        for case, found in texts.items()
    ]
    if half is not model:
        whole = model.expand(latents, method="greedy", **read)
        rows.append(value_row(f"generate in bfloat16: texts as in {setup.dtype}", _equal(plain, whole), "equal"))
    return rows


def _in_half_precision(model):
    processor, model._processor = model.processor, None
    try:
        half = copy.deepcopy(model).to(DTYPE)
    finally:
        model.processor = processor
    half.processor = processor
    return half


def _equal(found, expected):
    return sum(ours == theirs for ours, theirs in zip(found, expected, strict=True)) / len(expected)


BENCHMARK = Benchmark("expand in bfloat16: the fraction of windows whose text stays the same", measure)
