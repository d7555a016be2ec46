"""C3: Context Cascade Compression (arXiv 2511.15244). Texts to a few latent vectors, and back."""

from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_c3 import C3Config
from .latents_c3 import C3Latents
from .modeling_c3 import C3Model
from .processing_c3 import C3Processor

__version__ = "0.1.0"

# Once the package is imported, the Auto classes need no trust flag.
AutoConfig.register("c3", C3Config)
AutoModel.register(C3Config, C3Model)
AutoProcessor.register(C3Config, C3Processor)

__all__ = ["C3Config", "C3Latents", "C3Model", "C3Processor"]
