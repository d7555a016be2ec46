"""Fused layers of the package liger-kernel in the two backbones."""

from importlib.util import find_spec

from c3.training.checks import RecipeError

# Both replace the forward of a whole causal language model, which would take the place of a bare backbone's.
NO_LOSSES = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def check_liger_kernel():
    """Raises `RecipeError` where the package is not installed."""
    if find_spec("liger_kernel") is None:
        raise RecipeError("liger_kernel: install the package first: pip install liger-kernel; or set it to false.")


def check_liger_device(device):
    """Raises `RecipeError` unless `device` (`torch.device`) can run the kernels."""
    if device.type == "cpu":
        raise RecipeError("liger_kernel: its kernels need a GPU, and this run is on the CPU; set liger_kernel: false.")


def apply_liger_kernel(model):
    """
    Replaces norms, MLPs and rotary embeddings of both backbones by liger-kernel's (https://arxiv.org/abs/2410.10989).

    The loss stays the model's own: it is computed over the labels' positions only, outside the decoder.

    Args:
        model ([`C3Model`]): on a GPU when it is run.

    Raises:
        RecipeError: a kind of backbone that the package has no layers for.
    """
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    backbones = {"encoder": model.encoder, "decoder": model.decoder}
    for part, backbone in backbones.items():
        # The package itself would leave such a model as it is, and not say so.
        if backbone.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
            raise RecipeError(
                f"liger_kernel: the package has no layers for the {part}, a {backbone.config.model_type}; set "
                "liger_kernel: false."
            )
    for backbone in backbones.values():
        _apply_liger_kernel_to_instance(model=backbone, **NO_LOSSES)
