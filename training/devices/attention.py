"""Which `attn_implementation` a recipe may name, and which kernels of `sdpa` are kept out of training."""

from contextlib import contextmanager
from importlib.util import find_spec

import torch

from c3.training.checks import RecipeError

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "cpu_matmul")
# What a name needs; transformers takes a build of the package kernels instead.
PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}


def check_attention(name):
    """
    Args:
        name (`str`): one of `ATTENTION`, or a kernel on the Hub, such as `kernels-community/flash-attn2`.

    Raises:
        RecipeError: another name, or a package that it needs is not installed.
    """
    if not isinstance(name, str) or (name not in ATTENTION and "/" not in name):
        raise RecipeError(f"attn_implementation must be one of {', '.join(ATTENTION)}, not {name!r}.")
    if name not in PACKAGES and "/" not in name:
        return
    wanted = [PACKAGES[name], "kernels"] if name in PACKAGES else ["kernels"]
    if not any(find_spec(each) for each in wanted):
        raise RecipeError(
            f"attn_implementation: {name} needs the package {' or '.join(wanted).replace('_', '-')}, which is not "
            "installed: install it, or take sdpa."
        )


@contextmanager
def without_cudnn_attention():
    """
    Leaves cuDNN's kernel out of those that `sdpa` chooses from. Its backward pass makes gradients that are no numbers
    of rows with padding, where these take 64 positions more than a multiple of 128 (pytorch/pytorch#196678, since torch
    2.11, H100 and H200); the other kernels are as quick.
    """
    was_enabled = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was_enabled)
