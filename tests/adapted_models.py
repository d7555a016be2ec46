"""Tiny models with LoRA adapters."""

import torch

from tiny_models import TEXTS


def as_if_trained(model):
    """New adapters add nothing and the whole parts are copies: moves both."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def tell(model, texts=TEXTS):
    """Latents and the text that they give."""
    latents = model.compress(texts, num_latents=4, dtype=model.dtype)
    return latents, model.expand(latents)


def prints(model):
    return model.latent_provenance().weights_fingerprint
