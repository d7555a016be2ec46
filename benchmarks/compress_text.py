"""
One long text, from `str` to `C3Latents`, tokenising and cutting into windows included.

Baseline: the bare encoder backbone's forward on the padded batches that `compress` gave it. Floor: 1.0, reached when
tokenising, batching, projecting and joining cost nothing; 0.85 is to be reached.
"""

from .encoder_baseline import bare_encoder
from .harness import Benchmark, at_least, ratio_row
from .recorded_calls import recorded_calls


def measure(setup):
    model = setup.model
    text = setup.text(setup.pick(50_000, 1_000))

    def compress():
        return model.compress(text, show_progress=False)

    with recorded_calls(model.encoder) as calls:
        tokens = compress().text_tokens
    baseline, padding = bare_encoder(model, calls)
    row = ratio_row(
        f"{len(text) // 1000} kB of text, {tokens} tokens",
        setup.alternate(compress, baseline),
        "speed",
        at_least(0.85),
        padding=padding,
    )
    row["tokens_per_second"] = tokens / row["ours"]["median"]
    return [row]


BENCHMARK = Benchmark("compress: one long text, from str to latents, against the encoder's bare forward", measure)
