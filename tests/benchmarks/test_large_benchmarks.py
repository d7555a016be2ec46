"""The measurements at true sizes and of training steps, run tiny. Run: pytest tests/benchmarks"""

import json
import sys

import pytest
import yaml

from c3.benchmarks import large_cpu, large_stages, random_training, step_timing, train_throughput
from c3.benchmarks.command import bench
from c3.benchmarks.large_stages import AUTHORS, CONVERTED, STAGES
from c3.support.errors import UserError
from tiny_models import write_training_folder


@pytest.fixture(autouse=True)
def little_text(monkeypatch):
    """Random text for a few steps: the tiny tokenizer would take most of the time on what true runs have."""
    monkeypatch.setattr(random_training, "DOCUMENTS", 10)


@pytest.fixture
def in_this_process(monkeypatch):
    """Stages run here: what a process of its own changes is memory and time, which no test judges."""
    monkeypatch.setattr(large_stages, "in_fresh_process", lambda function, *arguments: function(*arguments))


def test_large_cpu(in_this_process, tmp_path, capsys):
    """From random weights to a table, and no stage twice."""
    argv = ["--size", "tiny", "--dtype", "float32", "--text-tokens", "40", "--new-tokens", "4", "--runs", "1"]
    argv += ["--folder", str(tmp_path / "work"), "--output", str(tmp_path / "large.json")]
    bench(["large-cpu", *argv], "c3 bench")
    result = json.loads((tmp_path / "large.json").read_text())
    assert list(result["benchmarks"]) == list(STAGES)
    rows = {row["case"]: row for each in result["benchmarks"].values() for row in each["rows"]}
    assert rows["Latents of the two"]["met"], rows["Latents of the two"]
    assert "Reconstructing 4 tokens by a bare loop" in rows
    assert (tmp_path / "large.md").read_text().strip() in capsys.readouterr().out
    written = (tmp_path / "work" / AUTHORS / "config.json").stat().st_mtime_ns
    bench(["large-cpu", *argv], "c3 bench")
    assert (tmp_path / "work" / AUTHORS / "config.json").stat().st_mtime_ns == written


def test_large_cpu_says_what_is_missing(tmp_path, monkeypatch):
    tiny = ["--size", "tiny", "--folder", str(tmp_path)]
    for stages, said in ((["convert"], f"lacks {AUTHORS}: run the stage write"), (["load"], f"lacks {CONVERTED}")):
        with pytest.raises(ValueError, match=said):
            bench(["large-cpu", *tiny, "--stages", *stages], "c3 bench")
    monkeypatch.setattr(large_cpu, "SPARE_DISK", 1 << 60)
    with pytest.raises(ValueError, match="too little disk"):
        bench(["large-cpu", *tiny, "--stages", "write"], "c3 bench")


@pytest.mark.parametrize(
    ("name", "missing"), [("large-cpu", "psutil"), ("train-throughput", "c3.training.run.trainer")]
)
def test_what_is_not_installed(name, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, f"c3.benchmarks.{name.replace('-', '_')}")
    with pytest.raises(UserError, match=rf"{missing}.*: pip install -e \.\[bench\]"):
        bench([name], "c3 bench")


def test_train_throughput(tmp_path, capsys, monkeypatch):
    """Steps of a tiny recipe by the bare passes: FLOPs add up, and every step was timed."""
    monkeypatch.setattr(train_throughput, "WARM_UP", 1)
    write_training_folder(tmp_path)
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    # As much text in a batch as the two passes need to be more than their fixed costs.
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"tokens_per_batch": 512}))
    output = tmp_path / "throughput.json"
    argv = ["--recipe", str(tmp_path / "recipe.yaml"), "--steps", "3", "--output", str(output)]
    bench(["train-throughput", *argv, "training.bf16=false"], "c3 bench")
    found = json.loads(output.read_text())
    assert json.dumps(found, indent=1) in capsys.readouterr().out
    assert found["steps"] == 3 and found["overrides"] == ["training.bf16=false"]
    assert found["ratio"] > 0 and found["text_tokens_per_second"] > 0
    assert 0 <= found["padding"] < 0.5
    flops = found["flops"]
    # Our passes hold the baseline's, and Muon's products come on top.
    assert 0.9 * flops["baseline"] < flops["passes"] < 1.3 * flops["baseline"]
    assert flops["optimizer"] > 0
    assert found["flops_ratio"] == pytest.approx(flops["baseline"] / (flops["passes"] + flops["optimizer"]), abs=1e-3)


def test_train_step(tmp_path, capsys, monkeypatch):
    """The parts add up to the step, and every operation of the profiled one was counted."""
    monkeypatch.setattr(step_timing, "WARM_UP", 1)
    write_training_folder(tmp_path)
    output = tmp_path / "step.json"
    argv = ["--recipe", str(tmp_path / "recipe.yaml"), "--steps", "2", "--output", str(output)]
    bench(["train-step", *argv, "tokens_per_batch=64", "training.bf16=false"], "c3 bench")
    found = json.loads(output.read_text())
    assert json.dumps(found, indent=1) in capsys.readouterr().out
    for run in (found["host"], found["step"]):
        step, *parts = run["host"].values()
        assert 0 < sum(parts) <= step * 1.5 and all(
            run["host"][name] > 0 for name in ("forward", "backward", "optimizer")
        )
        assert run["tokens"] > 0
    # More windows are few more operations.
    assert found["host"]["counts"]["operations"] == pytest.approx(found["step"]["counts"]["operations"], rel=0.4)
