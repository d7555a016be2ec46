"""Tiny models whose encoder is a vision tower that reads pictures of text."""

import torch

from c3 import C3Config, C3Model, C3Processor
from tiny_models import tiny_backbone

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16}
TOWERS = {
    "siglip_vision_model": {"model_type": "siglip_vision_model", "image_size": 96, **SIZES},
    "siglip2_vision_model": {"model_type": "siglip2_vision_model", "num_patches": 36, **SIZES},
}


def config_of(tokenizer, tower="siglip_vision_model", **options):
    layout = {"latent_position_layout": "uniform", "window": 32, "num_latents": 8, "use_mask_embedding": True}
    options = layout | {"context_modality": "image", "pooling": "patches", "initializer_range": 0.5} | options
    tower = TOWERS[tower] | options.pop("tower_options", {})
    return C3Config(encoder_config=tower, decoder_config=tiny_backbone("qwen3", len(tokenizer)), **options)


def model_of(tokenizer, tower="siglip_vision_model", **options):
    torch.manual_seed(0)
    config = config_of(tokenizer, tower, **options)
    model = C3Model(config).eval()
    model.processor = C3Processor.from_config(config, tokenizer)
    return model
