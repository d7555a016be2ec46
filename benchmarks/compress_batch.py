"""
Windows of ids to latents, in one batch.

Baseline: the bare encoder backbone's forward on the same padded ids (those that `compress` really gave it, with
placeholders taken for ordinary tokens) in the same batches. Ours has to make the batch, put in the queries, project
their states and cut the result. Floor: 1.0, reached when all of that costs nothing; 0.95 is to be reached.

The latents are also compared with those of each window alone.
"""

import torch

from .encoder_baseline import bare_encoder
from .harness import Benchmark, agreement_row, at_least, ratio_row
from .recorded_calls import recorded_calls

RATIO = 8
# A run takes a second, and its times scatter by more than what is judged.
RUNS = 15
TOLERANCE = 1e-4


def measure(setup):
    model, window = setup.model, setup.model.processor.default_window
    windows = setup.pick(64, 4)
    ids = setup.tokens(windows * window)
    contexts = [ids[start : start + window] for start in range(0, len(ids), window)]
    counts = [-(-window // RATIO)] * windows

    def encode():
        return model.encode_windows(contexts, counts, batch_size=windows)

    with torch.no_grad():
        with recorded_calls(model.encoder) as calls:
            together = encode()
        alone = [model.encode_windows([each], [n]) for each, n in zip(contexts, counts, strict=True)]
    baseline, padding = bare_encoder(model, calls)
    row = ratio_row(
        f"{windows} windows of {window} tokens",
        setup.alternate(encode, baseline, runs=setup.pick(max(RUNS, setup.runs), 1)),
        "speed",
        at_least(0.95),
        tokens=len(ids),
        padding=padding,
    )
    row["tokens_per_second"] = len(ids) / row["ours"]["median"]
    return [row, _agreement(setup, together, torch.cat(alone))]


def _agreement(setup, found, expected):
    """Rounding differs with the batch's shape, and much more in half precision, where it is only reported."""
    error = ((found - expected).abs().amax(-1) / expected.abs().amax(-1).clamp(min=1e-6)).float()
    tolerance = TOLERANCE if setup.dtype == "float32" else 2e-2
    equal, largest = float((error <= tolerance).float().mean()), float(error.max())
    return agreement_row(setup, f"latents as of each window alone, within {tolerance:g}", equal, largest=largest)


BENCHMARK = Benchmark("compress: windows in one batch against the encoder's bare forward", measure)
