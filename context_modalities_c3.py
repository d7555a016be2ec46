"""The kinds of context that there are."""

from .context_image_c3 import ImageContext
from .context_text_c3 import TextContext

CONTEXT_MODALITIES = {"text": TextContext(), "image": ImageContext()}


def context_modality(name):
    """The [`ContextModality`] called `name`, as `config.context_modality` says; `ValueError` if there is none."""
    if name not in CONTEXT_MODALITIES:
        raise ValueError(
            f"context_modality must be one of {', '.join(CONTEXT_MODALITIES)}, not {name!r}. A kind that a checkpoint "
            "brings with its own code has to be added to CONTEXT_MODALITIES before c3 loads it (docs/extending.md)."
        )
    return CONTEXT_MODALITIES[name]


__all__ = ["CONTEXT_MODALITIES", "context_modality"]
