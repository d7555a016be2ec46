"""Registers C3 with transformers' Auto classes, which then need no trust flag for C3 checkpoints."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_c3 import C3Config
from .corrections_c3 import InexactTextError
from .expanded_text_c3 import ExpandedText, ExpandedWindow
from .latents_c3 import (
    C3Latents,
    LatentChecksumError,
    LatentFileWarning,
    LatentFormatError,
    LatentMismatchError,
)
from .modeling_c3 import C3Model
from .options_c3 import CompressionWarning
from .processing_c3 import C3Processor

AutoConfig.register("c3", C3Config, exist_ok=True)
AutoModel.register(C3Config, C3Model, exist_ok=True)
AutoProcessor.register(C3Config, C3Processor, exist_ok=True)

__all__ = [
    "C3Config",
    "C3Latents",
    "C3Model",
    "C3Processor",
    "CompressionWarning",
    "ExpandedText",
    "ExpandedWindow",
    "InexactTextError",
    "LatentChecksumError",
    "LatentFileWarning",
    "LatentFormatError",
    "LatentMismatchError",
]
