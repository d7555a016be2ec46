"""Fused layers of the package liger-kernel in the two backbones."""

from .checks import RecipeError


def apply_liger_kernel(model):
    """
    Replaces norms, MLPs and rotary embeddings of both backbones by liger-kernel's (https://arxiv.org/abs/2410.10989).

    The loss stays the model's own: it is computed over the labels' positions only, outside the decoder.

    Args:
        model ([`C3Model`]): on a CUDA device when it is run.

    Raises:
        RecipeError: the package is not installed, or there is no CUDA device.
    """
    import torch

    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError as error:
        raise RecipeError("liger_kernel: install the package first: pip install liger-kernel") from error
    if not torch.cuda.is_available():
        raise RecipeError("liger_kernel: its kernels need a CUDA device; set liger_kernel: false.")
    for backbone in (model.encoder, model.decoder):
        options = {"cross_entropy": False, "fused_linear_cross_entropy": False} if backbone is model.decoder else {}
        _apply_liger_kernel_to_instance(model=backbone, **options)
