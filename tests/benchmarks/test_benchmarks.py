"""The benchmarks, tiny, and their harness: rows, limits, tables, exit codes. Run: pytest tests/benchmarks"""

import copy
import gzip
import json
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from c3.benchmarks import profile, ratios, registry
from c3.benchmarks.command import OTHERS, bench
from c3.benchmarks.harness import Benchmark, Setup, at_least, at_most, check_row, ratio_row, summarize, value_row
from c3.benchmarks.prefill_flops import prefill_flops
from c3.benchmarks.ratios import RESULT_FILE
from c3.benchmarks.recorded_calls import recorded_calls
from c3.benchmarks.registry import BENCHMARKS
from c3.benchmarks.report import find_markers, insert_into, render, verdict
from c3.benchmarks.run_header import code_fingerprint, describe
from c3.benchmarks.texts import make_text
from c3.cli.main import main as c3_main

# They start processes, or train: one smoke run of each is in `.ci/run`.
IN_OTHER_PROCESSES = {"long-text", "peak-memory", "import-time", "allocator", "train-step", "serve-load"}


@pytest.fixture(scope="module")
def setup():
    return Setup(size="tiny", runs=1, warm_up=0, smoke=True)


@pytest.fixture
def two(monkeypatch):
    """Two benchmarks in the place of all; returns the calls of the first. The second's outputs differ."""
    calls = []

    def first(setup):
        calls.append(setup)
        return [ratio_row("fast", [[1.0, 2.0, 4.0], [2.0, 4.0, 4.0]], "speed", at_least(1.5))]

    fakes = {
        "first": Benchmark("is fast", first),
        "second": Benchmark(
            "is wrong", lambda setup: [check_row("texts", 0.5), value_row("size", 3e6, "B", at_most(1))]
        ),
    }
    for module in (ratios, registry):
        monkeypatch.setattr(module, "BENCHMARKS", fakes)
    monkeypatch.setattr("c3.benchmarks.report.BENCHMARKS", fakes)
    return calls


# ----------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - IN_OTHER_PROCESSES))
def test_smoke_run(name, setup):
    """Every row can be written and rendered, and outputs that have to be equal are."""
    rows = BENCHMARKS[name].measure(setup)
    assert rows and all(row["met"] for row in rows if row.get("is_check")), rows
    json.dumps(rows, allow_nan=False)
    result = {**describe(setup), "benchmarks": {name: {"rows": rows, "seconds": 1.0}}}
    assert render(result).count(f"| `{name}` |") == len(rows)
    # A smoke run judges outputs and never times.
    assert all(verdict(row, smoke=True) == "" for row in rows if not row.get("is_check"))


def test_every_benchmark_says_what_it_measures_against():
    for name, each in BENCHMARKS.items():
        assert 10 < len(each.summary) < 100, name
        assert "Baseline" in __import__(each.measure.__module__, fromlist="x").__doc__, name


# ------------------------------------------------------------------------------------------------------- the command


def test_resumes_and_renders(two, tmp_path, capsys):
    argv = ["--smoke", "--output", str(tmp_path)]
    assert bench([*argv, "--only", "first"], "bench") == 0
    assert bench(argv, "bench") == ratios.DISAGREEING
    out, err = capsys.readouterr()
    assert len(two) == 1  # the second call took it from the file
    assert "outputs that have to be equal are not: second" in err
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert table.strip() in out
    assert "| `first` | fast | 2.00 s (3 runs) | 4.00 s (3 runs) | 2x [1.5x, 2x] | at least 1.5x |  |" in table
    assert "| `second` | texts |  |  | 50.0% equal | at least 100.0% equal | **missed** |" in table
    assert list(json.loads((tmp_path / RESULT_FILE).read_bytes())["benchmarks"]) == ["first", "second"]
    assert (tmp_path / "overview.png").stat().st_size and (tmp_path / "overview.svg").stat().st_size


def test_results_of_another_run_are_not_continued(two, tmp_path):
    argv = ["--smoke", "--only", "first", "--output", str(tmp_path)]
    bench(argv, "bench")
    with pytest.raises(ValueError, match=r"holds results of another run \(runs differ\)"):
        bench([*argv, "--runs", "2"], "bench")
    assert len(two) == 1


def test_results_of_other_code_are_not_continued(tmp_path):
    """Of the code of all packages, and of nothing else."""
    for name in ("__init__.py", "part_c3.py", "eval/__init__.py", "eval/suites/__init__.py", "tests/test_x.py", "a.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = code_fingerprint(tmp_path)
    for name in ("part_c3.py", "eval/__init__.py", "eval/suites/__init__.py"):
        (tmp_path / name).write_text("changed")
        assert code_fingerprint(tmp_path) != before
        (tmp_path / name).write_text(name)
    (tmp_path / "tests/test_x.py").write_text("changed")
    (tmp_path / "a.md").write_text("changed")
    assert code_fingerprint(tmp_path) == before
    (tmp_path / "part_c3.py").rename(tmp_path / "eval/part_c3.py")
    assert code_fingerprint(tmp_path) != before


def test_table_goes_between_the_markers(two, tmp_path):
    path = tmp_path / "doc.md"
    path.write_text("a\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nb\n", encoding="utf-8")
    for _ in range(2):
        assert bench(["--smoke", "--only", "first", "--write-into", str(path)], "bench") == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- benchmarks: begin -->\n\nSmoke run: ") and text.endswith("-->\nb\n")
    assert "old" not in text and text.count("| `first` |") == 1
    insert_into(path, "new")
    assert find_markers(path)[1] == "\n\nnew\n\n"
    # Found out before the work.
    with pytest.raises(ValueError, match="lacks the markers <!-- profile: begin --> and"):
        find_markers(path, "profile")
    path.write_text("none", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the markers"):
        bench(["--smoke", "--write-into", str(path)], "bench")
    assert len(two) == 2


def test_list_and_errors(capsys, monkeypatch):
    assert c3_main(["bench", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(BENCHMARKS)
    assert c3_main(["bench", "--only", "nothing"]) == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert c3_main(["bench", "--device", "cuda"]) == 2
    assert "c3: error: --device cuda: there is no CUDA GPU here" in capsys.readouterr().err
    assert c3_main(["bench", "--device", "gpu"]) == 2
    assert "c3: error: --device gpu cannot be used here" in capsys.readouterr().err
    assert c3_main(["bench", "--help"]) == 0
    assert {f"  {name} " for name in OTHERS} <= set(re.findall(r"^  \S+ ", capsys.readouterr().out, re.MULTILINE))
    for name in OTHERS:
        assert c3_main(["bench", name, "--no-such-option"]) == 2
        said = f"c3: error: unrecognized arguments: --no-such-option (see c3 bench {name} --help)\n"
        assert capsys.readouterr().err == said


# ------------------------------------------------------------------------------------------------------------- parts


def test_rows_and_limits():
    row = ratio_row("a", [[1.0, 1.0, 1.0], [2.0, 3.0, 10.0]], "speed", at_least(3), tokens=7)
    assert (row["value"], row["met"], row["tokens"]) == (3.0, True, 7)
    assert verdict(row) == "met, within the spread"
    assert row["quartiles"] == [2.5, 6.5] and row["ours"]["median"] == 1.0 and row["baseline"]["runs"] == 3
    row = ratio_row("a", [[2.0], [1.0]], "time", at_most(1.9))
    assert (row["value"], row["met"], row["quartiles"]) == (2.0, False, [2.0, 2.0])
    assert verdict(row) == "**missed**" and verdict(value_row("a", 1, "x")) == ""
    assert verdict(check_row("a", 1.0), smoke=True) == "met"
    with pytest.raises(ValueError):
        ratio_row("a", [[1.0, 2.0], [1.0]], "speed")
    assert summarize([3.0, 1.0, 2.0]) == {"median": 2.0, "quartiles": [1.5, 2.5], "runs": 3}


def test_sides_take_turns_and_warm_up_does_not_count():
    calls = []
    seconds = Setup(runs=2, warm_up=1).alternate(lambda: calls.append("a"), lambda: calls.append("b"))
    assert calls == ["a", "b"] * 3 and [len(each) for each in seconds] == [2, 2]


def test_texts(setup, tmp_path):
    assert len(make_text(10_001)) == 10_001 and make_text(500) == make_text(500)
    path = tmp_path / "text.txt"
    path.write_text("One sentence. Another one.", encoding="utf-8")
    pieces = re.split(r"(?<=\.) ", make_text(1000, path))
    assert set(pieces[:-1]) == {"One sentence.", "Another one."}
    path.write_text(" ", encoding="utf-8")
    with pytest.raises(ValueError, match="is empty"):
        make_text(10, path)
    ids = setup.tokens(40)
    assert len(ids) == 40 and setup.model.processor.encode(setup.model.processor.decode(ids)) == ids
    windows = setup.windows(3, 4)
    assert len(windows) == 3 and windows.text_lengths.tolist() == [16] * 3


def test_recorded_calls(setup):
    with recorded_calls(setup.model.encoder) as calls:
        setup.model.compress("A short text.")
    setup.model.compress("Another.")
    assert len(calls) == 1 and calls[0][1]["inputs_embeds"].shape[0] == 1


def test_prefill_flops_against_torchs_counter(setup):
    """Torch counts both halves of eager attention, of which a causal decoder needs one."""
    decoder, length = copy.deepcopy(setup.model.decoder), 48
    decoder.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder(torch.zeros(1, length, dtype=torch.long), logits_to_keep=1)
    config = decoder.config
    causal_half = 2 * length**2 * config.num_hidden_layers * config.hidden_size
    assert counter.get_total_flops() == prefill_flops(config, length) + causal_half


@pytest.mark.parametrize("name", list(profile.CALLS))
def test_profile(name, setup, tmp_path):
    rows = profile.measure(setup, name, tmp_path / "trace.json.gz")
    assert sum(share for *_, share in rows) == pytest.approx(1)
    assert {"aten::mm", "(the rest)"} <= {key for key, *_ in rows}
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    # Nothing is left on the model.
    assert not {"forward", "plan"} & (set(vars(setup.model.encoder)) | set(vars(setup.model.processor)))
    assert profile.table([("aten::mm", 3, 0.6), ("(stage)", 1, 0.35), ("aten::add", 9, 0.05)]).splitlines()[2:] == [
        "| `aten::mm` | 3 | 60.0% | 60.0% |",
        "| stage | 1 | 35.0% | 95.0% |",
    ]


def test_profile_command(tmp_path, capsys):
    path = tmp_path / "doc.md"
    path.write_text("<!-- profile: begin --><!-- profile: end -->", encoding="utf-8")
    assert not bench(["profile", "--smoke", "--only", "compress", "--write-into", str(path)], "c3 bench")
    assert "**`compress`**: a text to latents" in find_markers(path, "profile")[1]
    assert "**`compress`**" in capsys.readouterr().out
