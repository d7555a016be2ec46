"""How the tests start training in two processes, and the ways in which these share the work."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKER = ROOT / "tests" / "training" / "distributed_worker.py"
TRAIN = ROOT / "train_hf.py"
CONFIGS = ROOT / "configs" / "deepspeed"
ADAMW = "optimizer={name: adamw, lr: 0.003}"


def zero(name):
    return f"training.deepspeed={CONFIGS / name}.json"


# How two processes share the work: what to run, and what to add to the recipe.
MODES = {
    "ddp": ([TRAIN], []),
    "zero2": ([TRAIN], [zero("zero2")]),
    "zero3": ([TRAIN], [zero("zero3")]),
    "fsdp": ([WORKER, "fsdp"], ["training.fsdp=true"]),
}


def python(*script):
    return [sys.executable, *script]


def torchrun(*script):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script]


def environment_of(folder):
    """Variables of processes that keep their caches in a folder."""
    own = {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_MODULES_CACHE": str(folder / "modules")}
    own |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    # DeepSpeed compiles Muon's arithmetic, for which machines that only test need no compiler.
    return os.environ | own | {"TORCH_COMPILE_DISABLE": "1"}
