"""
Ways of keeping a text, by name. Each is a function `(model, examples, options) -> list[Reconstruction]`, one for each
`Example`; to add one, write its file and register it here. What reads pages has a model of its own in place of a C3
one, see [`PageReader`].
"""

from .c3 import reconstruct_with_c3
from .deepseek_ocr import DeepSeekOcr
from .exact_c3 import reconstruct_with_exact_c3
from .glyph import Glyph
from .lossless import reconstruct_with_xz, reconstruct_with_zlib
from .mean_pooling import MEAN_POOLING, check_mean_pooling, reconstruct_with_mean_pooling
from .optimised_latents import reconstruct_with_optimised_latents
from .truncation import reconstruct_with_truncation

METHODS = {
    "c3": reconstruct_with_c3,
    "exact-c3": reconstruct_with_exact_c3,
    MEAN_POOLING: reconstruct_with_mean_pooling,
    "truncation": reconstruct_with_truncation,
    "zlib": reconstruct_with_zlib,
    "xz": reconstruct_with_xz,
    "optimised-latents": reconstruct_with_optimised_latents,
}
# What a method needs of the model, `(model) -> None`, found out before any work.
METHOD_CHECKS = {MEAN_POOLING: check_mean_pooling}
PAGE_READERS = {"glyph": Glyph, "deepseek-ocr": DeepSeekOcr}
