"""
`expand` by drafting windows in one pass and correcting them, at 4 and 8 tokens per latent.

Baseline: greedy decoding, one token a pass with a static cache, of the same windows in the same batch. Floor: none in
time; two passes, a draft and the one that finds no error in it. The same text is to come out, at 4x after a sixth of
the passes or fewer, in no more time for 64 windows and in a third of it for one. What a draft gets right depends on the
training, so that other models than the default checkpoint are only asked for the same text.
"""

from .harness import Benchmark, agreement_row, at_least, ratio_row, value_row
from .models import is_trained
from .recorded_calls import recorded_calls

JUDGED_PASSES = 4
# With many windows the ratio is near what is judged, and scatters.
RUNS = 9


def measure(setup):
    return [
        row
        for ratio in (4, 8)
        for count, speed in ((setup.pick(64, 3), 1.0), (1, 3.0))
        for row in _rows(setup, ratio, count, speed)
    ]


def _rows(setup, ratio, count, speed):
    model = setup.model
    latents = setup.windows(count, ratio)
    case = f"{count} window{'s' * (count > 1)} at {ratio}x"

    def expand(method):
        return model.expand(latents, method=method, batch_size=count, show_progress=False)

    texts, passes = {}, {}
    for method in ("parallel", "greedy"):
        with recorded_calls(model.decoder.base_model) as calls:
            texts[method] = expand(method)
        passes[method] = len(calls)
    is_judged = is_trained(setup.size)
    runs = max(RUNS, setup.runs) if is_judged and count > 1 else setup.runs
    seconds = setup.alternate(lambda: expand("parallel"), lambda: expand("greedy"), runs=runs)
    yield ratio_row(case, seconds, "speed", at_least(speed) if is_judged else None)
    yield value_row(
        f"{case}: {passes['parallel']} passes instead of {passes['greedy']}",
        passes["greedy"] / passes["parallel"],
        "x fewer",
        at_least(6) if is_judged and ratio == JUDGED_PASSES else None,
    )
    parallel, greedy = ([each] if count == 1 else each for each in (texts["parallel"], texts["greedy"]))
    equal = sum(ours == theirs for ours, theirs in zip(parallel, greedy, strict=True)) / count
    yield agreement_row(setup, f"{case}: texts as of greedy decoding", equal)


BENCHMARK = Benchmark("expand: windows drafted in parallel against greedy decoding", measure)
