"""
Where the time of a training step goes: `step_timing.py`, on the default checkpoint's recipe.

The host's work, which is the same whatever a step's size, as a share of the recipe's whole step (on a CPU, of one of
4096 tokens): what a faster device cannot take away. Baseline: the same,
not compiled.
"""

from c3.support.errors import needing

from .harness import Benchmark, value_row

STEPS = 20
WAYS = {"eager": [], "compiled": ["torch_compile=true"]}


def measure(setup):
    with needing("bench"):
        # Training needs more libraries than the other benchmarks.
        from .random_training import DEFAULT_RECIPE
        from .step_timing import CPU_BATCH, WARM_UP, measure_host, measure_step

    steps, warm_up = setup.pick((STEPS, WARM_UP), (1, 1))
    batch = [] if setup.device.startswith("cuda") else CPU_BATCH
    rows = []
    for name, options in WAYS.items():
        if setup.smoke and options:
            continue  # compiling takes longer than all of a smoke run
        host = measure_host(DEFAULT_RECIPE, steps, options, warm_up)
        step = measure_step(DEFAULT_RECIPE, steps, [*setup.pick(batch, ["tokens_per_batch=256"]), *options], warm_up)
        milliseconds = step["host"]["step"]
        rows += [
            value_row(f"{name}: host", host["host"]["step"], "ms", parts=host, operations=host["counts"]["operations"]),
            value_row(f"{name}: step", milliseconds, "ms", parts=step, tokens=step["tokens"]),
            value_row(f"{name}: text", 1000 * step["tokens"] / milliseconds, "tokens/s"),
        ]
    return rows


BENCHMARK = Benchmark("train: a step's host work and the whole step of the default checkpoint's recipe", measure)
