"""
Where the numbers of a model's weights are while they are offloaded (accelerate), quantized (torchao, torch.ao) or
shared among processes. Needs none of these packages: what they leave on a model tells.
"""

from functools import partial

import torch
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from .adapters_c3 import effective_parameters


def stored_weights(model, adapters=True):
    """
    What a model computes with, as plain tensors, wherever they are kept: an offloaded weight is read from there, one
    that torchao has quantized is taken apart into its numbers and scales, and of one that processes share this one's
    part is taken. What torch.ao has packed is left to `packed_weights`.

    Args:
        model (`nn.Module`): the model itself, not the `PeftModel` around it.
        adapters (`bool`): False to leave out what adapters add.

    Returns:
        `dict[str, torch.Tensor]`, by the names of `effective_parameters`; each weight once.
    """
    offloaded, own_parts = _offloaded(model), _own_parts(model)
    # Offloaded, tied weights are no longer one object.
    ties, seen, found = getattr(model, "all_tied_weights_keys", {}), set(), {}
    for name, parameter in effective_parameters(model, adapters):
        tie = ties.get(name, name)
        if id(parameter) in offloaded:
            if tie in seen:
                continue
            weights, own_name = offloaded[id(parameter)]
            parameter = weights[own_name]
        seen.add(tie)
        found.update(_plain(name, own_parts.get(id(parameter), parameter)))
    return found


def packed_weights(model):
    """
    What torch.ao has packed. Unpacking takes long, and an object that holds a packed weight never changes.

    Returns:
        `dict[str, tuple[torch.ScriptObject, Callable]]`: by the names of the modules, the object that holds weight and
        bias, and what unpacks it to a `dict[str, torch.Tensor]`.
    """
    found = {}
    for name, module in model.named_modules():
        if _is_packed(module):
            holders = [each for each in vars(module._packed_params).values() if isinstance(each, torch.ScriptObject)]
            found[name] = holders[0], partial(_unpack, name, module)
    return found


def execution_device(module):
    """The `torch.device` on which a module computes: where its first weight is, or is brought to for its use."""
    for part in module.modules():
        hook = _offload_hook(part)
        if hook is not None:
            return torch.device(hook.execution_device)
        if _is_packed(part):
            # torch.ao packs weights for the CPU alone.
            return torch.device("cpu")
    return next(module.parameters()).device


def is_sharded(model):
    """Whether processes share the weights, so that all of them must run the model equally often."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule

    return is_deepspeed_zero3_enabled() or isinstance(model, FSDPModule)


def table_deviation(embeddings):
    """
    The standard deviation (`float`) of the numbers of an embedding table (`nn.Module`), None where there is no table;
    under ZeRO-3, which leaves a process only its share, all processes must ask.
    """
    table = getattr(embeddings, "weight", None)
    is_divided = hasattr(table, "ds_id")
    if is_divided:
        table.all_gather()
    else:
        table = stored_weights(embeddings).get("weight")
    deviation = None if table is None else table.detach().float().std().item()
    if is_divided:
        table.partition()
    return deviation


def has_parted_ties(model):
    """Whether a module shares a weight with one elsewhere, and would look in vain for it where its own are kept."""
    for tie in getattr(model, "all_tied_weights_keys", {}).items():
        for module, _, name in (each.rpartition(".") for each in tie):
            hook = _offload_hook(model.get_submodule(module))
            if hook is not None and name not in hook.weights_map:
                return True
    return False


def _offloaded(model):
    """By the `id` of each offloaded parameter, the mapping that holds its numbers, and its name there."""
    found = {}
    for module in model.modules():
        hook = _offload_hook(module)
        if hook is not None:
            for name, parameter in module.named_parameters(recurse=hook.place_submodules):
                # While the module computes, its weights are where they are used.
                if parameter.is_meta:
                    found[id(parameter)] = hook.weights_map, name
    return found


def _own_parts(model):
    """
    By the `id` of each parameter that FSDP (`fully_shard`) divides, the part that this process keeps: which of them
    are gathered in a module depends on what was computed last. Reading them so gathers and frees nothing, which only
    all processes together may.
    """
    found = {}
    for module in model.modules():
        if hasattr(module, "_get_fsdp_state"):
            state = module._get_fsdp_state()
            # Older versions of torch have one group, or None.
            groups = vars(state).get("_fsdp_param_groups") or filter(None, [state._fsdp_param_group])
            for each in (parameter for group in groups for parameter in group.fsdp_params):
                place = each._module_info
                found[id(getattr(place.module, place.param_name))] = each.sharded_param
    return found


def _offload_hook(module):
    """The hook of accelerate that brings a module's weights to where they are used, or None."""
    hook = getattr(module, "_hf_hook", None)
    hooks = getattr(hook, "hooks", (hook,))
    return next((each for each in hooks if getattr(each, "offload", False)), None)


def _is_packed(module):
    """Whether torch.ao has packed a module's weight, which is no parameter then."""
    return hasattr(module, "_packed_params") and callable(getattr(module, "weight", None))


def _unpack(name, module):
    bias = module.bias() if callable(getattr(module, "bias", None)) else None
    return {f"{name}.weight": module.weight().dequantize()} | ({} if bias is None else {f"{name}.bias": bias})


def _plain(name, tensor):
    """Yields the plain tensors that a tensor consists of, with their names."""
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    # What ZeRO-3 leaves in the parameter itself depends on what was computed last.
    tensor = getattr(tensor, "ds_tensor", tensor)
    if hasattr(tensor, "__tensor_flatten__"):
        for part in tensor.__tensor_flatten__()[0]:
            yield from _plain(f"{name}.{part}", getattr(tensor, part))
    else:
        yield name, tensor


__all__ = ["execution_device", "has_parted_ties", "is_sharded", "packed_weights", "stored_weights", "table_deviation"]
