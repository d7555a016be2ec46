"""
What every benchmark shares. A benchmark is a file with a `BENCHMARK = Benchmark(summary, measure)`, registered in
`registry.py`; `measure(setup)` returns a list of rows, each made by one of

    ratio_row(case, setup.alternate(ours, baseline), "speed", at_least(0.95))   # baseline's time by ours
    ratio_row(case, setup.alternate(ours, baseline), "time", at_most(1.15))     # our time by the baseline's
    value_row(case, 12.3, "MB", at_most(20))                                    # any other number
    check_row(case, fraction)                                                   # outputs agree: a fraction, 1 is all

`setup` has the model, texts of any length, the number of runs, and `setup.pick(full, smoke)` for sizes.
"""

import operator
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from .models import make_model
from .texts import make_text
from .time_limit import TimeLimit

# Text tokens of the windows that are expanded: the default checkpoint's, and as many with any other.
WINDOW_TOKENS = 64


@dataclass(frozen=True)
class Benchmark:
    """
    Args:
        summary (`str`): one line for `--list`.
        measure: `(Setup) -> list[dict]`, the rows.
        draw: `(rows, path without ending) -> None`, a figure of its own.
        why_not: `(Setup) -> str or None`, why it is left out with such a setup; by default it never is.
    """

    summary: str
    measure: Callable
    draw: Callable | None = None
    why_not: Callable = lambda setup: None


@dataclass(frozen=True)
class Limit:
    """What is to be reached: `sense` is "least" or "most"."""

    sense: str
    number: float

    def is_met(self, value):
        return (operator.ge if self.sense == "least" else operator.le)(value, self.number)


def at_least(number):
    return Limit("least", number)


def at_most(number):
    return Limit("most", number)


@dataclass
class Setup:
    """
    What a benchmark is run with.

    Args:
        size (`str`): a name of `models.SIZES`.
        device (`str`), dtype (`str`): of the model.
        runs (`int`): timed runs of each side.
        warm_up (`int`): runs before them.
        smoke (`bool`): whether sizes are the smallest that still run every line.
        long (`bool`): whether to measure what takes more than some minutes on a CPU.
        text_file (`Path`, *optional*): a text in place of the package's own.
        keeps_freed_memory (`bool`): whether the process does (`support/allocator.py`).
        time_limit (`TimeLimit`): until when to measure.
    """

    size: str = "mini"
    device: str = "cpu"
    dtype: str = "float32"
    runs: int = 5
    warm_up: int = 1
    smoke: bool = False
    long: bool = False
    text_file: Path | None = None
    keeps_freed_memory: bool = False
    time_limit: TimeLimit = field(default_factory=TimeLimit)

    @cached_property
    def model(self):
        """[`C3Model`] with its processor, the same weights in every process."""
        return make_model(self.size, self.device, self.dtype)

    def text(self, characters):
        """So many characters of English prose, the same in every run."""
        return make_text(characters, self.text_file)

    def tokens(self, count):
        """So many token ids of that prose, `list[int]`, which are also the ids of their own text."""
        processor = self.model.processor
        ids = processor.encode(self.text(8 * count))
        for start in range(len(ids) - count):
            chosen = ids[start : start + count]
            if processor.encode(processor.decode(chosen)) == chosen:
                return chosen
        raise ValueError(f"no {count} tokens of the text stand for themselves: give a longer one")

    def latents(self, tokens, ratio, window=None):
        """[`C3Latents`] of a text of so many tokens, in windows of the model's length or of `window` tokens."""
        self.time_limit.check()
        text = self.model.processor.decode(self.tokens(tokens))
        return self.model.compress(text, ratio=ratio, window=window, batch_size=64, show_progress=False)

    def windows(self, count, ratio):
        """[`C3Latents`] of so many texts of one window each."""
        length = self.pick(WINDOW_TOKENS, 16)
        latents = self.latents(count * length, ratio, length)
        return replace(latents, window_counts=torch.ones(latents.num_windows, dtype=torch.long), single=False)

    def pick(self, full, smoke):
        """A size: the first, or the second in a smoke run."""
        return smoke if self.smoke else full

    def alternate(self, *functions, runs=None, warm_up=None):
        """
        Calls the functions in turn, so that what else the machine does falls on all of them.

        Returns: `list[list[float]]`, seconds of each run of each function, without the warm-up.

        Raises: `OutOfTime` where the time is over before the last run.
        """
        runs, warm_up = self.runs if runs is None else runs, self.warm_up if warm_up is None else warm_up
        seconds = [[] for _ in functions]
        with torch.no_grad():
            for _ in range(warm_up + runs):
                for each, function in zip(seconds, functions, strict=True):
                    self.time_limit.check()
                    self.synchronize()
                    started = time.perf_counter()
                    function()
                    self.synchronize()
                    each.append(time.perf_counter() - started)
        return [each[warm_up:] for each in seconds]

    def synchronize(self):
        """Waits for the device."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


def of_cpu_alone(setup):
    """The `why_not` of a benchmark that measures nothing of another device."""
    return None if setup.device == "cpu" else "measures the CPU alone: run it with --device cpu"


def summarize(values):
    """Median, quartiles and number of measured values, as they are in the result file."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": statistics.median(values), "quartiles": [quartiles[0], quartiles[2]], "runs": len(values)}


def ratio_row(case, seconds, of, limit=None, **facts):
    """
    A row for two functions that were timed in turn: the median of the runs' ratios, each of neighbours in time.

    Args:
        case (`str`): what was measured, for the table.
        seconds: two lists of as many seconds, of ours and of the baseline.
        of (`str`): `"speed"`, the baseline's seconds by ours, or `"time"`, ours by the baseline's.
        limit (`Limit`, *optional*): of that ratio.
        **facts: what else belongs into the result file.
    """
    ours, baseline = seconds
    pairs = list(zip(ours, baseline, strict=True))
    ratios = summarize([theirs / mine if of == "speed" else mine / theirs for mine, theirs in pairs])
    sides = {"ours": summarize(ours) | {"unit": "s"}, "baseline": summarize(baseline) | {"unit": "s"}}
    return value_row(case, ratios["median"], "x", limit, quartiles=ratios["quartiles"], of=of, **sides, **facts)


def value_row(case, value, unit, limit=None, **facts):
    """A row for a single number; see `ratio_row`."""
    judged = {"limit": {"sense": limit.sense, "number": limit.number}, "met": limit.is_met(value)} if limit else {}
    return {"case": case, "value": value, "unit": unit, **judged, **facts}


def check_row(case, fraction, **facts):
    """A row for outputs that have to be the same: the fraction that is."""
    return value_row(case, fraction, "equal", at_least(1.0), is_check=True, **facts)


def agreement_row(setup, case, fraction, **facts):
    """
    A `check_row` for what was computed in passes of other shapes. In half precision, where rounding alone may choose
    other tokens, the fraction is a figure and no check.
    """
    if setup.dtype == "float32":
        return check_row(case, fraction, **facts)
    return value_row(case, fraction, "equal", **facts)
