"""The parts of a C3 model that a stage may train, each at a learning rate of its own."""

MODEL_PARTS = ("encoder", "queries", "projector", "decoder")


def part_of(name, parameter, model):
    """
    Which of `MODEL_PARTS` a parameter belongs to: the mask embedding, and an embedding table that both backbones share,
    are the decoder's.

    Args:
        name (`str`): as in `model.named_parameters()`; prefixes of wrappers such as PEFT's are looked through.
        parameter (`torch.nn.Parameter`): the parameter.
        model ([`C3Model`]): where it is from.
    """
    if parameter is model.get_input_embeddings().weight:
        return "decoder"
    for piece in name.split("."):
        if piece in ("encoder", "projector", "decoder"):
            return piece
        if piece == "context_queries":
            return "queries"
        if piece == "mask_embedding":
            return "decoder"
    raise ValueError(f"{name} is in no part of a C3 model.")


def set_trainable(model, parts):
    """Lets gradients reach the parameters of `parts` (`list[str]`) and no others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name, parameter, model) in parts)


def count_parameters(model):
    """`dict[str, tuple[int, int]]`: all and trainable parameters of each part."""
    counts = dict.fromkeys(MODEL_PARTS, (0, 0))
    for name, parameter in model.named_parameters():
        part = part_of(name, parameter, model)
        # Under ZeRO-3 a parameter is empty until it is gathered, and keeps its size elsewhere.
        size = getattr(parameter, "ds_numel", parameter.numel())
        total, trainable = counts[part]
        counts[part] = (total + size, trainable + size * parameter.requires_grad)
    return counts


def describe_parts(model):
    """One line for the log: what is trained, in millions of parameters."""
    counts = count_parameters(model)
    total, trainable = (sum(each[i] for each in counts.values()) for i in (0, 1))
    parts = ", ".join(
        f"{part} {_millions(ours)}" + ("" if ours == every else f" of {_millions(every)}")
        for part, (every, ours) in counts.items()
        if ours
    )
    return f"Training {_millions(trainable)} of {_millions(total)} parameters: {parts}."


def _millions(number):
    return f"{number / 1e6:.3g} M"


def parameter_groups(model, learning_rate, learning_rates=None, weight_decay=0.0):
    """
    Trainable parameters as groups for an optimizer: by part, and within a part by whether weights decay (matrices of
    layers and projector; not norms, biases, embeddings and queries).

    Args:
        model ([`C3Model`]): the model.
        learning_rate (`float`): of parts that `learning_rates` (`dict[str, float]`, *optional*) does not name.
        weight_decay (`float`): of the weights that decay.

    Returns:
        `list[dict]` with `params`, `lr`, `weight_decay`, `part`, `hidden` (whether these are matrices inside layers).
    """
    groups = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = part_of(name, parameter, model)
        hidden = is_hidden_matrix(name, parameter)
        decays = hidden or (part == "projector" and name.endswith("weight"))
        key = (part, hidden, decays)
        if key not in groups:
            groups[key] = {
                "params": [],
                "lr": (learning_rates or {}).get(part, learning_rate),
                "weight_decay": weight_decay if decays else 0.0,
                "part": part,
                "hidden": hidden,
            }
        groups[key]["params"].append(parameter)
    return list(groups.values())


def is_hidden_matrix(name, parameter):
    """Whether this is a matrix inside a layer, which Muon trains; under ZeRO-3 its own shape is kept elsewhere."""
    return ".layers." in name and len(getattr(parameter, "ds_shape", parameter.shape)) == 2
