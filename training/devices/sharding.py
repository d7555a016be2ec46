"""Which settings of DeepSpeed and FSDP a recipe may ask for, checked before anything is loaded."""

import importlib.util
import json
import os
from pathlib import Path

from c3.support.errors import pip_install


def deepspeed_config(training):
    """
    The DeepSpeed settings of a run.

    Args:
        training (`dict`): keywords of `TrainingArguments`; `deepspeed` is a file or the settings themselves. Without
            it, the file that `accelerate launch --deepspeed_config_file` names.

    Returns:
        `dict`, or None without DeepSpeed or where `accelerate launch` makes the settings from its own options.

    Raises:
        FileNotFoundError, ValueError: no such file, or not settings of DeepSpeed.
    """
    where, source = "training.deepspeed", training.get("deepspeed")
    if source is None and os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        where, source = "--deepspeed_config_file", os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if source is None or isinstance(source, dict):
        return source
    if not isinstance(source, str) or not Path(source).is_file():
        raise FileNotFoundError(f"{where}: no such file: {source}. See configs/deepspeed/.")
    try:
        config = json.loads(Path(source).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{where}: {source} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{where}: {source} must hold keys and values.")
    return config


def check_sharding(training, optimizer, lora=None):
    """
    Raises `FileNotFoundError` or `ValueError`, with the key's name, for settings that could not be trained with.

    Args:
        training (`dict`): keywords of `TrainingArguments`.
        optimizer (`dict`): the recipe's, `name` and keywords of it.
        lora ([`LoraSettings`], *optional*): the recipe's.
    """
    config = deepspeed_config(training)
    if training.get("fsdp") or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        check_fsdp(optimizer)
        if training.get("deepspeed"):
            raise ValueError("training.fsdp and training.deepspeed exclude each other: choose one.")
    if config is not None:
        check_deepspeed(config, optimizer, training.get("max_grad_norm", 1.0), lora)


def check_fsdp(optimizer):
    """As `check_sharding`, for a run under FSDP, however it was asked for."""
    if optimizer["name"] == "muon":
        raise ValueError(
            "optimizer.name: muon needs whole matrices, which FSDP cuts up: use adamw, or ZeRO instead of FSDP."
        )


def require_deepspeed(training):
    """Raises `ValueError` where settings (`dict`) of `TrainingArguments` need DeepSpeed and it is not installed."""
    if training.get("deepspeed") and importlib.util.find_spec("deepspeed") is None:
        raise ValueError(f"training.deepspeed needs the package deepspeed: {pip_install('deepspeed')}")


def check_deepspeed(config, optimizer, max_grad_norm, lora=None):
    """
    As `check_sharding`, for settings (`dict`) of DeepSpeed.

    Args:
        max_grad_norm (`float`): `training.max_grad_norm`.
    """
    for key, instead in (("optimizer", "the recipe's optimizer"), ("scheduler", "training.lr_scheduler_type")):
        if key in config:
            raise ValueError(f"training.deepspeed: leave out {key}: {instead} says it.")
    zero = config.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    if stage == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise ValueError(
            "training.deepspeed: zero_optimization.stage3_gather_16bit_weights_on_model_save must be true, or "
            "checkpoints would hold no weights."
        )
    offload = zero.get("offload_optimizer", {}).get("device", "none")
    if offload != "none" and config.get("zero_force_ds_cpu_optimizer", True):
        raise ValueError(
            "training.deepspeed: with zero_optimization.offload_optimizer set zero_force_ds_cpu_optimizer: false; "
            "the recipe's optimizer runs on the CPU then."
        )
    if optimizer["name"] != "muon" or not stage:
        return
    if lora is not None:
        raise ValueError(
            "optimizer.name: whether DeepSpeed's muon trains adapters is not known: with lora under ZeRO use adamw."
        )
    if "ns_steps" in optimizer:
        raise ValueError("optimizer.ns_steps: under ZeRO muon is DeepSpeed's, which has no such setting: leave it out.")
    if max_grad_norm:
        raise ValueError(
            "optimizer.name: under ZeRO muon needs training.max_grad_norm: 0, because DeepSpeed would clip the "
            "orthogonalised update instead of the gradient; or use adamw."
        )
    if offload != "none":
        raise ValueError("optimizer.name: muon under ZeRO cannot be offloaded; use adamw, or zero2.json.")
    if stage == 3 and zero.get("reduce_scatter", True):
        raise ValueError(
            "optimizer.name: under ZeRO-3 muon needs zero_optimization.reduce_scatter: false, as in "
            "configs/deepspeed/zero3_muon.json; or use adamw."
        )
