"""
One step of greedy decoding: from the beginning of one of the decoder's forward passes to that of the next.

Baseline: the decoder's bare forward, one token for each row, with a static cache at the same batch and the same
lengths. Ours chooses the tokens, embeds them, and looks who has finished. Floor: 1.0; 1.15 or less is to be reached.
"""

import statistics
import time
from itertools import pairwise

import torch
from transformers import StaticCache

from .harness import Benchmark, at_most, ratio_row
from .recorded_calls import recorded_calls

RATIO = 4


def measure(setup):
    return [step_row(setup, batch) for batch in setup.pick((1, 8, 64), (2,))]


def step_row(setup, batch):
    """The row for so many windows side by side."""
    model = setup.model
    latents = setup.windows(batch, RATIO)
    steps = int(latents.text_lengths[0]) - 1
    found = {"ours": [], "baseline": []}

    def expand():
        with recorded_calls(model.decoder.base_model) as calls:
            model.expand(latents, method="greedy", batch_size=batch, show_progress=False)
            setup.synchronize()
        # The first interval is the prefill's.
        found["ours"].append(statistics.median(_intervals([moment for moment, _ in calls])[1:]))
        return calls

    first = expand()[0][1]
    prompt = first["inputs_embeds"]
    ids = torch.zeros(batch, 1, dtype=torch.long, device=prompt.device)

    def forward():
        cache = StaticCache(config=model.config.decoder_config, max_cache_len=prompt.shape[1] + steps)
        model.decoder(inputs_embeds=prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
        setup.synchronize()
        moments = [time.perf_counter()]
        for _ in range(steps):
            model.decoder(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            setup.synchronize()
            moments.append(time.perf_counter())
        found["baseline"].append(statistics.median(_intervals(moments)))

    setup.alternate(expand, forward)
    seconds = [found[side][-setup.runs :] for side in ("ours", "baseline")]
    return ratio_row(f"batch of {batch}, lengths up to {prompt.shape[1] + steps}", seconds, "time", at_most(1.15))


def _intervals(moments):
    return [later - earlier for earlier, later in pairwise(moments)]


BENCHMARK = Benchmark("expand: a step of the decode loop against the decoder's bare forward", measure)
