"""
`expand` by drafting windows in one pass and correcting them, by tokens per latent and number of windows.

Baseline: greedy decoding, one token a pass with a static cache, of the same windows in the same batch. Floor: none in
time; two passes, a draft and the one that finds no error in it. The same text is to come out, at 4x after a sixth
of the passes or fewer, for one window at 4x and 8x in a third of the time, and what `expand` does without a `method`
is to be the faster of the two, or nearly. What a draft gets right depends on the training, so that other models than
the default checkpoint are only asked for the same text.
"""

import statistics

from .harness import Benchmark, agreement_row, at_least, ratio_row, value_row
from .models import is_trained
from .recorded_calls import recorded_calls

# Tokens per latent, and numbers of windows.
CASES = [(4, 64), (4, 8), (4, 1), (8, 64), (8, 1), (16, 8), (16, 1), (32, 8), (32, 1)]
SMOKE_CASES = [(4, 3), (8, 1)]
# Tokens per latent at which drafts of one window are to be three times as fast.
JUDGED_RATIOS = (4, 8)
# Tokens per latent at which drafts are to take a sixth of the passes.
JUDGED_PASSES = 4


def measure(setup):
    return [row for ratio, count in setup.pick(CASES, SMOKE_CASES) for row in _rows(setup, ratio, count)]


def _rows(setup, ratio, count):
    model = setup.model
    latents = setup.windows(count, ratio)
    case = f"{count} window{'s' * (count > 1)} at {ratio}x"

    def expand(method):
        return model.expand(latents, method=method, batch_size=count, show_progress=False)

    texts, passes = {}, {}
    for method in ("parallel", "greedy", None):
        with recorded_calls(model.decoder.base_model) as calls:
            texts[method] = expand(method)
        passes[method] = len(calls)
    is_judged = is_trained(setup.size)
    seconds = setup.alternate(lambda: expand("parallel"), lambda: expand("greedy"))
    limit = at_least(3) if is_judged and count == 1 and ratio in JUDGED_RATIOS else None
    yield ratio_row(case, seconds, "speed", limit)
    yield value_row(
        f"{case}: {passes['parallel']} passes instead of {passes['greedy']}",
        passes["greedy"] / passes["parallel"],
        "x fewer",
        at_least(6) if is_judged and ratio == JUDGED_PASSES else None,
    )
    medians = dict(zip(("parallel", "greedy"), map(statistics.median, seconds), strict=True))
    chosen = "parallel" if passes[None] == passes["parallel"] else "greedy"
    yield value_row(
        f"{case}: by default {chosen}, speed against the faster of both",
        min(medians.values()) / medians[chosen],
        "x",
        at_least(0.85) if is_judged else None,
    )
    parallel, greedy = ([each] if len(latents) == 1 else each for each in (texts["parallel"], texts["greedy"]))
    equal = sum(ours == theirs for ours, theirs in zip(parallel, greedy, strict=True)) / len(latents)
    yield agreement_row(setup, f"{case}: texts as of greedy decoding", equal)


BENCHMARK = Benchmark("expand: windows drafted in parallel against greedy decoding", measure)
