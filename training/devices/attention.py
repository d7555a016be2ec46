"""Which `attn_implementation` a recipe may name."""

from importlib.util import find_spec

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
