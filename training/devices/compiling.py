"""Compilation of the layers of both backbones, which are compiled once for all of them."""

import torch


def compile_layers(model):
    """
    Compiles every layer of both backbones by itself, with dynamic shapes: layers that run the same code share what is
    compiled, so that a whole backbone takes the time of one layer (regional compilation,
    https://docs.pytorch.org/tutorials/recipes/regional_compilation.html).

        compile_layers(model)

    Args:
        model ([`C3Model`]): as it is trained; state dicts keep their names.
    """
    for backbone in (model.encoder, model.decoder):
        # One that has no list of layers is compiled whole.
        for layer in repeated_layers(backbone) or [backbone]:
            layer.compile(dynamic=True)


def repeated_layers(backbone):
    """`list[nn.Module]`: the modules of the longest `nn.ModuleList` of a backbone, its layers."""
    lists = [each for each in backbone.modules() if isinstance(each, torch.nn.ModuleList)]
    return list(max(lists, key=len, default=()))
