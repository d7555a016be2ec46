"""
Time to the first token of `generate` from saved latents, reading the file included.

Baseline: the same decoder's `generate` on the raw text, with the same prompt. Floor: what the FLOP count
(`prefill_flops.py`) says of the two prefills, given for each length; at 16k tokens and 16x compression 10x is to be
reached. The default checkpoint's decoder was made for 4096 positions: beyond them the raw text can be read for the
time that it takes, not for the answer. On CPUs lengths from 16k on, of many seconds, are not warmed up beyond what
the shorter ones were.
"""

import tempfile
from pathlib import Path

from c3 import C3Latents

from .contexts import PROMPT, RATIO, context, context_lengths, generate_raw
from .harness import Benchmark, at_least, check_row, ratio_row
from .prefill_flops import prefill_flops

JUDGED = 16384


def measure(setup):
    with tempfile.TemporaryDirectory() as folder:
        return [row for length in context_lengths(setup) for row in _rows(setup, length, Path(folder) / "context.c3")]


def _rows(setup, length, path):
    model = setup.model
    latents, ids = context(setup, length)
    latents.save(path)
    prompt = ids.shape[1] - length
    outputs = []

    def from_latents():
        loaded = C3Latents.load(path, device=model.device)
        outputs.append(model.generate(loaded, PROMPT, max_new_tokens=1, do_sample=False))

    warm_up = 0 if setup.device == "cpu" and length >= JUDGED else None
    seconds = setup.alternate(from_latents, lambda: generate_raw(model, ids, max_new_tokens=1), warm_up=warm_up)
    config = model.config.decoder_config
    predicted = prefill_flops(config, ids.shape[1]) / prefill_flops(config, latents.num_latents + prompt)
    row = ratio_row(
        f"{length} tokens as {latents.num_latents} latents; the FLOP count says {predicted:.3g}x",
        seconds,
        "speed",
        at_least(10) if length == JUDGED else None,
        length=length,
        predicted=predicted,
    )
    expected = model.generate(latents, PROMPT, max_new_tokens=1, do_sample=False)
    equal = sum(each == expected for each in outputs) / len(outputs)
    return [row, check_row(f"first token of {length} as from latents in memory", equal)]


def draw(rows, path):
    """By length: seconds to the first token of both, and their ratio as measured and as predicted."""
    from c3.eval.report import new_figure, save_figure

    rows = [row for row in rows if "predicted" in row]
    lengths = [row["length"] for row in rows]
    figure, (seconds, ratio) = new_figure(1, 2, figsize=(9, 3.6))
    # After the check that matplotlib is there.
    from matplotlib.ticker import LogLocator

    for side, label in (("baseline", "raw text"), ("ours", f"latents at {RATIO}x, from a file")):
        _plot_medians(seconds, lengths, [(row[side]["median"], row[side]["quartiles"]) for row in rows], label)
    _plot_medians(ratio, lengths, [(row["value"], row["quartiles"]) for row in rows], "measured", color="tab:green")
    ratio.plot(lengths, [row["predicted"] for row in rows], "--", color="grey", label="FLOP count")
    for axes, label in ((seconds, "seconds to the first token"), (ratio, "times sooner than from raw text")):
        axes.set(xscale="log", yscale="log", xlabel="tokens of the context", ylabel=label)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xticks(lengths, lengths)
        axes.minorticks_off()
        axes.legend()
    figure.tight_layout()
    save_figure(figure, path)


def _plot_medians(axes, lengths, measured, label, **style):
    """A line through medians, each with a bar from quartile to quartile; `measured` holds both for every length."""
    medians = [median for median, _ in measured]
    bars = [[abs(quartiles[side] - median) for median, quartiles in measured] for side in (0, 1)]
    axes.errorbar(lengths, medians, yerr=bars, marker="o", capsize=3, label=label, **style)


BENCHMARK = Benchmark("generate: time to the first token from saved latents against the raw text", measure, draw)
