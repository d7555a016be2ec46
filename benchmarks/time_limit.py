"""
Benchmarks in so many minutes: the most telling first, each begun only where it is likely to end in time, and none
counted that does not.
"""

import math
import time

# What each is expected to take with the default checkpoint, in seconds: on a CPU of two cores and on an H200, where the
# first eight were measured and the others are guessed; what the first ones take shows how far all are off. In the order
# in which they are run where time is limited. There may be some that are not registered.
SECONDS = {
    "train-step": {"cpu": 170, "cuda": 60},
    "compress-text": {"cpu": 44, "cuda": 5},
    "expand-windows": {"cpu": 74, "cuda": 32},
    "large-model": {"cpu": 3600, "cuda": 55},
    "first-token": {"cpu": 75, "cuda": 4},
    "cache-bytes": {"cpu": 19, "cuda": 3},
    "peak-memory": {"cpu": 30, "cuda": 16},
    "compress-batch": {"cpu": 33, "cuda": 1},
    "decode-step": {"cpu": 61, "cuda": 10},
    "half-precision": {"cpu": 6, "cuda": 5},
    "expand-parallel": {"cpu": 191, "cuda": 45},
    "long-text": {"cpu": 115, "cuda": 50},
    "load-latents": {"cpu": 1, "cuda": 1},
    "import-time": {"cpu": 15, "cuda": 15},
    "data-loading": {"cpu": 20, "cuda": 12},
    "draw-text": {"cpu": 10, "cuda": 10},
    "serve-load": {"cpu": 60, "cuda": 60},
    "allocator": {"cpu": 77, "cuda": 77},
}


class OutOfTime(Exception):
    """The minutes are over, and the benchmark that was running is not: its rows are lost."""


class TimeLimit:
    """
    Until when to measure.

        limit = TimeLimit(4)
        limit.seconds_left()  # 240.0

    Args:
        minutes (`int`, *optional*): from now on; without them time is not limited.
        clock: seconds, as `time.perf_counter` gives them.
    """

    def __init__(self, minutes=None, clock=time.perf_counter):
        self.minutes, self.clock = minutes, clock
        self.end = math.inf if minutes is None else clock() + 60 * minutes

    def seconds_left(self):
        return self.end - self.clock()

    def check(self):
        """Raises `OutOfTime` where no time is left."""
        if self.seconds_left() <= 0:
            raise OutOfTime

    def in_order(self, names):
        """The names of benchmarks, `list[str]`: the most telling first where time is limited, else as they are."""
        return list(names) if self.minutes is None else sorted(names, key=list(SECONDS).index)


def expected_seconds(name, device, taken):
    """
    What a benchmark is likely to take: as much more or less than `SECONDS` say as those before it together.

        expected_seconds("cache-bytes", "cuda", {"compress-text": 20.0})  # 16.0

    Args:
        name (`str`): of `SECONDS`.
        device (`str`): that is measured.
        taken (`dict[str, float]`): seconds that benchmarks have taken on it. Where there are none 0 is returned: what
            the first one takes, nobody knows.
    """
    kind = "cpu" if device == "cpu" else "cuda"
    said = sum(SECONDS[each][kind] for each in taken)
    return SECONDS[name][kind] * sum(taken.values()) / said if taken else 0.0
