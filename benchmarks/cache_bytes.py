"""
Bytes of keys and values in the decoder's cache when the first token is known.

Baseline: the same decoder's cache after the raw text and the same prompt, which counts on both sides. Floor: the
compression ratio; within 5 % of it is to be reached.
"""

from .contexts import PROMPT, context, context_lengths, generate_raw
from .harness import Benchmark, at_least, value_row


def measure(setup):
    return [_row(setup, length) for length in context_lengths(setup)]


def _row(setup, length):
    latents, ids = context(setup, length)
    options = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True}
    ours = bytes_of_cache(setup.model.generate(latents, PROMPT, **options).past_key_values)
    raw = generate_raw(setup.model, ids, max_new_tokens=1, return_dict_in_generate=True)
    raw = bytes_of_cache(raw.past_key_values)
    return value_row(
        f"{length} tokens, {raw / ours:.3g}x fewer bytes at {latents.ratio:.3g}x compression",
        raw / ours / latents.ratio,
        " of the ratio",
        at_least(0.95),
        ours={"median": ours, "unit": "B", "runs": 1},
        baseline={"median": raw, "unit": "B", "runs": 1},
    )


def bytes_of_cache(cache):
    """Bytes of the keys and values in a cache of transformers; what they should be says `C3Latents.cache_bytes`."""
    return sum(each.keys.nbytes + each.values.nbytes for each in cache.layers)


BENCHMARK = Benchmark("generate: bytes of the decoder's cache at the first token against the raw text", measure)
