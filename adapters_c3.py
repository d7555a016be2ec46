"""Which weights a model computes with while PEFT's adapters are attached to it. Needs no PEFT: its layers tell."""

# The parts of a C3 model that only read latents.
READING_PARTS = ("decoder", "mask_embedding")


def effective_parameters(model, adapters=True):
    """
    The parameters that take part in what a model computes, under names that do not depend on how adapters came to it.

    Without adapters these are `model.named_parameters()`. With them (https://huggingface.co/docs/peft) a frozen weight
    keeps its plain name, a part that is trained in full stands in for the original, what an active adapter adds follows
    under the name of its layer with its number and scale, and what is inactive, disabled or merged is left out.

    Args:
        model (`nn.Module`): the model itself, not the `PeftModel` around it.
        adapters (`bool`): False for what it computes with all adapters disabled.

    Yields:
        `tuple[str, torch.nn.Parameter]`, each parameter once.
    """
    seen = set()
    for name, parameter in _walk(model, "", adapters):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield name, parameter


def active_adapters(model):
    """`list[str]`: names of the adapters that take part in what the model computes now, in the order of its layers."""
    return list(dict.fromkeys(name for module in model.modules() if is_wrapper(module) for name in _active(module)))


def only_reading_is_adapted(model):
    """
    Whether adapters are active in the decoder alone: the latents that a [`C3Model`] makes are then those of its base,
    whose encoder, queries and projector it has.
    """

    def making_latents(adapters):
        parameters = effective_parameters(model, adapters)
        return {id(parameter) for name, parameter in parameters if name.split(".")[0] not in READING_PARTS}

    return bool(active_adapters(model)) and making_latents(True) == making_latents(False)


def has_adapters(model):
    """Whether adapters are attached, active or not."""
    return any(is_wrapper(module) for module in model.modules())


def is_wrapper(module):
    """Whether PEFT put this around a layer: an adapter, or one that is trained in full."""
    return is_trained_in_full(module) or hasattr(module, "base_layer")


def is_trained_in_full(module):
    """A part that is trained in full (`modules_to_save`)."""
    return hasattr(module, "original_module") and hasattr(module, "modules_to_save")


def _active(module):
    # A merged adapter is in the frozen weight already.
    if module.disable_adapters or getattr(module, "merged_adapters", ()):
        return []
    if is_trained_in_full(module):
        return [name for name in module.active_adapters if name in module.modules_to_save]
    return [name for name in module.active_adapters if any(_added(module, name))]


def _walk(module, prefix, adapters):
    active = _active(module) if adapters and is_wrapper(module) else []
    if is_trained_in_full(module):
        yield from _walk(module.modules_to_save[active[0]] if active else module.original_module, prefix, adapters)
    elif is_wrapper(module):
        yield from _walk(module.base_layer, prefix, adapters)
        for number, adapter in enumerate(active):
            scale = getattr(module, "scaling", {}).get(adapter, 1.0)
            for name, parameter in _added(module, adapter):
                yield f"{prefix}adapter_{number}_scaled_{scale:g}.{name}", parameter
    else:
        for name, parameter in module.named_parameters(recurse=False):
            yield prefix + name, parameter
        for name, child in module.named_children():
            yield from _walk(child, f"{prefix}{name}.", adapters)


def _added(layer, adapter):
    """What an adapter adds to a layer, by names without the adapter's, such as `lora_A.weight`."""
    for name, parameter in layer.named_parameters():
        kind, _, rest = name.partition(".")
        key, _, rest = rest.partition(".")
        if kind != "base_layer" and key == adapter:
            yield ".".join(filter(None, (kind, rest))), parameter
