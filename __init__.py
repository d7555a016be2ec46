"""C3: Context Cascade Compression (arXiv 2511.15244). Texts to a few latent vectors, and back.

    from c3 import C3Config, C3Latents, C3Model, C3Processor

The first of these imports loads torch and transformers and registers C3 with transformers' Auto classes, so that
`AutoModel.from_pretrained` needs no trust flag. `import c3` alone does so only where transformers is already imported;
otherwise it loads nothing, and the command line answers `c3 --help` at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .version_c3 import VERSION as __version__

# The folder of the checkpoint that comes with the package: `C3Model.from_pretrained(DEFAULT_CHECKPOINT)`.
DEFAULT_CHECKPOINT = str(Path(__file__).resolve().parent)

if TYPE_CHECKING:
    from .auto_c3 import (
        C3Config,
        C3Latents,
        C3Model,
        C3Processor,
        CompressionWarning,
        ExpandedText,
        ExpandedWindow,
        InexactTextError,
        LatentChecksumError,
        LatentFileWarning,
        LatentFormatError,
        LatentMismatchError,
    )

__all__ = [
    "C3Config",
    "C3Latents",
    "C3Model",
    "C3Processor",
    "CompressionWarning",
    "DEFAULT_CHECKPOINT",
    "ExpandedText",
    "ExpandedWindow",
    "InexactTextError",
    "LatentChecksumError",
    "LatentFileWarning",
    "LatentFormatError",
    "LatentMismatchError",
    "__version__",
]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import auto_c3

    return getattr(auto_c3, name)


def __dir__():
    return sorted({*globals(), *__all__})


if "transformers" in sys.modules:
    from . import auto_c3 as _auto_c3  # noqa: F401
