"""c3 bench --minutes, with a clock of its own. Run: pytest tests/benchmarks/test_time_limit.py"""

import json
import time

import pytest

from c3.benchmarks import ratios, registry
from c3.benchmarks.command import bench
from c3.benchmarks.fresh_process import in_fresh_process
from c3.benchmarks.harness import Benchmark, Setup, value_row
from c3.benchmarks.registry import BENCHMARKS
from c3.benchmarks.time_limit import SECONDS, OutOfTime, TimeLimit, expected_seconds


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


class Bench:
    """Benchmarks in the place of all, `bench.of(name=seconds that a run takes, …)`, of one row and one run each."""

    def __init__(self, monkeypatch, tmp_path):
        self.clock, self.begun, self.fakes = Clock(), [], {}
        self.path = tmp_path / "results.json"
        self.seen = []  # the result file as it was while each benchmark was running
        for module in (ratios, registry):
            monkeypatch.setattr(module, "BENCHMARKS", self.fakes)
        monkeypatch.setattr("c3.benchmarks.report.BENCHMARKS", self.fakes)

    def of(self, **runs):
        self.fakes.clear()
        self.fakes.update({name.replace("_", "-"): self._fake(name, seconds) for name, seconds in runs.items()})

    def _fake(self, name, seconds):
        def measure(setup):
            self.begun.append(name.replace("_", "-"))
            self.seen.append(json.loads(self.path.read_bytes()))
            if isinstance(seconds, Exception):
                raise seconds
            setup.alternate(lambda: self.clock.pass_by(seconds))
            return [value_row("case", 1, "x")]

        return Benchmark("is made up", measure)

    def run(self, minutes, device="cpu"):
        limit = TimeLimit(minutes, self.clock)
        setup = Setup(device=device, smoke=True, runs=2, warm_up=0, time_limit=limit)
        return ratios.run(setup, list(self.fakes), self.path)


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    return Bench(monkeypatch, tmp_path)


def test_most_telling_first_and_whole_files_all_along(fakes):
    fakes.of(decode_step=1, cache_bytes=1, compress_text=1, train_step=1)
    result = fakes.run(minutes=4)
    assert fakes.begun == ["train-step", "compress-text", "cache-bytes", "decode-step"]
    # Before the first one there is a file already, and each time it says what is missing.
    for done, seen in enumerate(fakes.seen):
        assert sorted(seen["benchmarks"]) == sorted(fakes.begun[:done])
        assert sorted(seen["left_out"]) == sorted(fakes.begun[done:])
    assert not result["left_out"] and json.loads(fakes.path.read_bytes()) == result
    assert "Left out" not in fakes.path.with_suffix(".md").read_text()


def test_what_does_not_fit_is_not_begun_and_named(fakes):
    # Twice as slow as is said: of expand-windows 148 s are to be expected, of cache-bytes 38.
    fakes.of(compress_text=SECONDS["compress-text"]["cpu"], expand_windows=74, cache_bytes=19)
    result = fakes.run(minutes=3)
    assert fakes.begun == ["compress-text", "cache-bytes"]
    assert list(result["benchmarks"]) == ["compress-text", "cache-bytes"]
    assert result["left_out"] == {"expand-windows": "not begun: 148 s were expected, 54 s were left"}
    table = fakes.path.with_suffix(".md").read_text()
    assert "Left out: `expand-windows` (not begun: 148 s were expected, 54 s were left)." in table
    # Another call goes on where this one stopped.
    result = fakes.run(minutes=4)
    assert fakes.begun[2:] == ["expand-windows"] and not result["left_out"] and len(result["benchmarks"]) == 3


def test_the_first_one_is_begun_whatever_it_takes_and_others_once_that_is_known(fakes):
    fakes.of(compress_text=0.5, expand_windows=1, large_model=10)
    assert len(fakes.run(minutes=1)["benchmarks"]) == 2
    assert fakes.begun == ["compress-text", "expand-windows"]  # an hour for the third, or here a minute and a half
    fakes.of(compress_text=0.1, expand_windows=0.1, large_model=2)
    fakes.path.unlink()
    assert len(fakes.run(minutes=1)["benchmarks"]) == 3


def test_one_that_is_not_at_its_end_in_time_is_not_counted(fakes):
    fakes.of(compress_text=1, expand_windows=70)
    result = fakes.run(minutes=1)
    assert list(result["benchmarks"]) == ["compress-text"] and fakes.clock.now == 100 + 2 + 70  # of two runs one
    assert result["left_out"] == {"expand-windows": "begun, but not at its end when the time was over"}


def test_one_that_fails_is_passed_over_where_time_is_limited(fakes, capsys):
    fakes.of(compress_text=RuntimeError("no kernel\nand much more"), cache_bytes=1)
    result = fakes.run(minutes=1)
    assert result["left_out"] == {"compress-text": "failed: RuntimeError: no kernel"} and "cache-bytes" in fakes.begun
    assert "no kernel" in capsys.readouterr().err
    fakes.path.unlink()
    with pytest.raises(RuntimeError, match="no kernel"):
        fakes.run(minutes=None)


def test_the_command(fakes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ratios, "TimeLimit", lambda minutes: TimeLimit(minutes, fakes.clock))
    fakes.of(cache_bytes=1, compress_text=ValueError("is broken"))
    argv = ["--smoke", "--output", str(tmp_path)]
    assert bench([*argv, "--minutes", "1"], "bench") == ratios.DISAGREEING
    said = capsys.readouterr()
    assert "Left out: `compress-text` (failed: ValueError: is broken)." in said.out
    assert said.err.endswith("failed: compress-text\n") and fakes.begun == ["compress-text", "cache-bytes"]
    with pytest.raises(SystemExit):
        bench(["--minutes", "0"], "bench")


def test_what_is_said_of_every_benchmark():
    assert set(BENCHMARKS) <= set(SECONDS) and list(SECONDS)[0] == "train-step"
    assert expected_seconds("cache-bytes", "cuda", {}) == 0
    assert expected_seconds("cache-bytes", "cuda:1", {"compress-text": 2 * SECONDS["compress-text"]["cuda"]}) == (
        2 * SECONDS["cache-bytes"]["cuda"]
    )


def test_a_process_of_its_own_ends_with_the_time():
    started = time.perf_counter()
    with pytest.raises(OutOfTime):
        in_fresh_process(time.sleep, 60, time_limit=TimeLimit(0.001))
    assert time.perf_counter() - started < 30
