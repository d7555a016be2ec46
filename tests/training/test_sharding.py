"""What a recipe may say about DeepSpeed and FSDP; the lock of a folder. Run: pytest tests/training/test_sharding.py"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from c3.training.devices.distributed import LaunchError, launcher_world_size
from c3.training.devices.sharding import check_sharding, deepspeed_config, require_deepspeed
from c3.training.optim.lora import LoraSettings
from c3.training.run.run_lock import run_lock
from fresh_processes import run_fresh

CONFIGS = Path(__file__).parents[2] / "configs" / "deepspeed"
NO_CLIPPING = {"max_grad_norm": 0}


def config(name, **changes):
    values = json.loads((CONFIGS / f"{name}.json").read_text())
    values["zero_optimization"] |= changes
    return values


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_the_shipped_settings_train_with_adamw(path):
    check_sharding({"deepspeed": str(path)}, {"name": "adamw"})
    values = deepspeed_config({"deepspeed": str(path)})
    assert f"zero{values['zero_optimization']['stage']}" in path.stem
    assert values["gradient_clipping"] == values["train_batch_size"] == values["bf16"]["enabled"] == "auto"


@pytest.mark.parametrize("name", ["zero2", "zero3_muon"])
def test_muon_with_its_settings(name):
    settings = {"deepspeed": config(name)} | NO_CLIPPING
    check_sharding(settings, {"name": "muon"})
    check_sharding(settings, {"name": "adamw"}, LoraSettings())
    check_sharding({"deepspeed": {}}, {"name": "muon"}, LoraSettings())
    with pytest.raises(ValueError, match="optimizer.name: .* is not known: with lora under ZeRO use adamw"):
        check_sharding(settings, {"name": "muon"}, LoraSettings())


@pytest.mark.parametrize(
    ("training", "optimizer", "message"),
    [
        ({"deepspeed": "missing.json"}, "adamw", "training.deepspeed: no such file: missing.json"),
        ({"deepspeed": 3}, "adamw", "training.deepspeed: no such file: 3"),
        ({"deepspeed": __file__}, "adamw", "test_sharding.py is not JSON"),
        ({"deepspeed": {"optimizer": {}}}, "adamw", "leave out optimizer: the recipe's optimizer says it"),
        ({"deepspeed": {"scheduler": {}}}, "adamw", "leave out scheduler: training.lr_scheduler_type says it"),
        (
            {"deepspeed": config("zero3", stage3_gather_16bit_weights_on_model_save=False)},
            "adamw",
            "stage3_gather_16bit_weights_on_model_save must be true",
        ),
        (
            {"deepspeed": config("zero2", offload_optimizer={"device": "cpu"})},
            "adamw",
            "set zero_force_ds_cpu_optimizer: false",
        ),
        ({"deepspeed": config("zero2")}, "muon", "muon needs training.max_grad_norm: 0"),
        ({"deepspeed": config("zero2_offload")} | NO_CLIPPING, "muon", "muon under ZeRO cannot be offloaded"),
        ({"deepspeed": config("zero3")} | NO_CLIPPING, "muon", "reduce_scatter: false, as in .*zero3_muon.json"),
        (
            {"deepspeed": config("zero2")} | NO_CLIPPING,
            {"name": "muon", "ns_steps": 4},
            "optimizer.ns_steps: under ZeRO muon is DeepSpeed's",
        ),
        ({"fsdp": True}, "muon", "muon needs whole matrices, which FSDP cuts up"),
        ({"fsdp": True, "deepspeed": config("zero2")}, "adamw", "exclude each other"),
    ],
)
def test_what_cannot_be_trained_is_refused(training, optimizer, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        check_sharding(training, {"name": optimizer} if isinstance(optimizer, str) else optimizer)


def test_deepspeed_is_not_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deepspeed" else find(name))
    with pytest.raises(ValueError, match=r"needs the package deepspeed: pip install -e \.\[deepspeed\]"):
        require_deepspeed({"deepspeed": config("zero2")})
    require_deepspeed({})


def test_settings_from_accelerate_launch(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert deepspeed_config({}) is None
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(CONFIGS / "zero3.json"))
    assert deepspeed_config({}) == config("zero3")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", "missing.json")
    with pytest.raises(FileNotFoundError, match="--deepspeed_config_file: no such file: missing.json"):
        check_sharding({}, {"name": "adamw"})


def test_fsdp_from_accelerate_launch(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    check_sharding({}, {"name": "adamw"})
    with pytest.raises(ValueError, match="optimizer.name: muon needs whole matrices, which FSDP cuts up"):
        check_sharding({}, {"name": "muon"})


def test_the_innermost_launcher_counts(monkeypatch):
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert launcher_world_size() == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert launcher_world_size() == 2
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert launcher_world_size() == 16


def test_one_run_at_a_time(tmp_path):
    with run_lock(tmp_path / "run"):
        with pytest.raises(LaunchError, match="Another process trains in .*run: choose another output_dir"):
            with run_lock(tmp_path / "run", patience=0):
                pass
        with run_lock(tmp_path / "run", held=False):
            pass
    with run_lock(tmp_path / "run", patience=0):
        pass


KILLED = """
import os, signal, sys
from c3.training.run.run_lock import run_lock

with run_lock(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_leaves_no_lock(tmp_path):
    assert run_fresh(KILLED, tmp_path).returncode == -9
    with run_lock(tmp_path, patience=0):
        pass
