"""
64 windows expanded together.

Baseline: transformers' `generate`, greedy, window by window, with the same model and the same output (special tokens
suppressed, as `expand` does). Both decode ids to text. Each run of the baseline takes its share of the windows, so that
all runs together generate each window once, and its time counts for all 64. Floor: none; a machine that computes 64
rows in the time of one would give 64x. 10x is to be reached.
"""

from math import ceil

from .harness import Benchmark, agreement_row, at_least, ratio_row

RATIO = 4


def measure(setup):
    model = setup.model
    latents = setup.windows(setup.pick(64, 3), RATIO)
    tokens = int(latents.text_lengths[0])
    options = generate_options(model, tokens)
    share = ceil(len(latents) / setup.runs)
    shares = [latents[start : start + share] for start in range(0, len(latents), share)]
    remaining, together, one_by_one = iter(shares), [], []

    def expand():
        together[:] = model.expand(latents, batch_size=len(latents), show_progress=False)

    def generate():
        one_by_one.extend(model.generate(window, **options) for window in next(remaining))

    for _ in range(setup.warm_up):
        expand()
        model.generate(latents[0], **options)
    ours, baseline = setup.alternate(expand, generate, runs=len(shares), warm_up=0)
    baseline = [seconds * len(latents) / len(share) for seconds, share in zip(baseline, shares, strict=True)]
    row = ratio_row(f"{len(latents)} windows of {tokens} tokens at {RATIO}x", (ours, baseline), "speed", at_least(10))
    row["tokens_per_second"] = latents.text_tokens / row["ours"]["median"]
    pairs = list(zip(together, one_by_one, strict=True))
    return [
        row,
        agreement_row(setup, "texts as of generate, window by window", sum(a == b for a, b in pairs) / len(pairs)),
    ]


def generate_options(model, tokens):
    """Keywords, `dict`, with which transformers' `generate` gives as many tokens of a window as `expand` does."""
    return {
        "do_sample": False,
        "num_beams": 1,
        "max_new_tokens": tokens,
        "suppress_tokens": sorted(set(model.processor.tokenizer.all_special_ids)),
        "pad_token_id": 0,
    }


BENCHMARK = Benchmark("expand: 64 windows against transformers' generate, window by window", measure)
