"""From a model that training has wrapped and divided to one like any other."""

from contextlib import contextmanager

import torch
from torch.distributed.fsdp import FSDPModule
from transformers.integrations import deepspeed as hf_deepspeed


def full_state_dict(trainer):
    """
    The weights of a trained model in one place, wherever ZeRO or FSDP keep them. Every process must call it.

    Returns:
        `dict[str, torch.Tensor]` on the main process, by the names of the unwrapped model; None on the others.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state if trainer.args.process_index == 0 else None


def plain_model(model, state, dtype=torch.bfloat16):
    """
    A new model of the same class and configuration that holds given weights.

    Args:
        model ([`C3Model`]): the trained one, unwrapped; it stays as it is.
        state (`dict[str, torch.Tensor]`): see `full_state_dict`.
        dtype (`torch.dtype`): what floating-point weights are converted to.

    Returns:
        [`C3Model`] on the CPU, to be saved: buffers that no checkpoint holds are not computed.
    """
    state = {name: each.to("cpu", dtype) if each.is_floating_point() else each.cpu() for name, each in state.items()}
    # FSDP puts a class of its own over the model's.
    model_class = next(each for each in type(model).__mro__ if not issubclass(each, FSDPModule))
    with torch.device("meta"), without_zero3():
        plain = model_class(model.config)
    plain.to(dtype).load_state_dict(state, assign=True)
    plain.tie_weights()
    if model._processor is not None:
        plain.processor = model.processor
    return plain


@contextmanager
def without_zero3():
    """Models that are made in this context are whole, though training goes on under ZeRO-3."""
    kept = hf_deepspeed._hf_deepspeed_config_weak_ref
    hf_deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        hf_deepspeed._hf_deepspeed_config_weak_ref = kept
