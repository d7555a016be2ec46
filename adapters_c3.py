"""Which weights a model computes with while PEFT's adapters are attached to it. Needs no PEFT: its layers tell."""


def effective_parameters(model):
    """
    The parameters that take part in what a model computes, under names that do not depend on how adapters came to it.

    Without adapters these are `model.named_parameters()`. With them (https://huggingface.co/docs/peft) a frozen weight
    keeps its plain name, a part that is trained in full stands in for the original, what an active adapter adds follows
    under the name of its layer with its number and scale, and what is inactive, disabled or merged is left out.

    Args:
        model (`nn.Module`): the model itself, not the `PeftModel` around it.

    Yields:
        `tuple[str, torch.nn.Parameter]`, each parameter once.
    """
    seen = set()
    for name, parameter in _walk(model, ""):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield name, parameter


def active_adapters(model):
    """`list[str]`: names of the adapters that take part in what the model computes now, in the order of its layers."""
    return list(dict.fromkeys(name for module in model.modules() if _is_wrapper(module) for name in _active(module)))


def has_adapters(model):
    """Whether adapters are attached, active or not."""
    return any(_is_wrapper(module) for module in model.modules())


def _is_wrapper(module):
    return _is_whole(module) or hasattr(module, "base_layer")


def _is_whole(module):
    """A part that is trained in full (`modules_to_save`)."""
    return hasattr(module, "original_module") and hasattr(module, "modules_to_save")


def _active(module):
    # A merged adapter is in the frozen weight already.
    if module.disable_adapters or getattr(module, "merged_adapters", ()):
        return []
    if _is_whole(module):
        return [name for name in module.active_adapters if name in module.modules_to_save]
    return [name for name in module.active_adapters if any(_added(module, name))]


def _walk(module, prefix):
    if _is_whole(module):
        active = _active(module)
        yield from _walk(module.modules_to_save[active[0]] if active else module.original_module, prefix)
    elif _is_wrapper(module):
        yield from _walk(module.base_layer, prefix)
        for number, adapter in enumerate(_active(module)):
            scale = getattr(module, "scaling", {}).get(adapter, 1.0)
            for name, parameter in _added(module, adapter):
                yield f"{prefix}adapter_{number}_scaled_{scale:g}.{name}", parameter
    else:
        for name, parameter in module.named_parameters(recurse=False):
            yield prefix + name, parameter
        for name, child in module.named_children():
            yield from _walk(child, f"{prefix}{name}.")


def _added(layer, adapter):
    """What an adapter adds to a layer, by names without the adapter's, such as `lora_A.weight`."""
    for name, parameter in layer.named_parameters():
        kind, _, rest = name.partition(".")
        key, _, rest = rest.partition(".")
        if kind != "base_layer" and key == adapter:
            yield ".".join(filter(None, (kind, rest))), parameter
