"""Tiny models whose encoder is a vision tower that reads pictures of text."""

import torch

from c3 import C3Config, C3Model, C3Processor
from c3.context_c3 import ContextModality
from c3.context_text_c3 import mean_pool
from c3.training.data.tokenizer import train_tokenizer
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


LINE = "天地玄黄宇宙洪荒"


def model_of_lines(**options):
    """A model of pictures whose tokens are whole lines of characters that its font lacks, `LINE`, or "Who is it? "."""
    return model_of(train_tokenizer([LINE] * 40 + ["Who is it? "] * 40, vocab_size=330), **options)


class PixelsContext(ContextModality):
    """The encoder sees the bytes of a window's text as grey pixels."""

    def from_text(self, processor, text):
        return list(text.encode()[:256].ljust(256))

    def inputs(self, processor, contexts, num_latents, pack=False):
        pixels = torch.tensor(contexts).view(-1, 1, 16, 16).expand(-1, 3, -1, -1) / 255
        return {"context_pixel_values": pixels, "context_num_latents": torch.tensor(num_latents)}

    def states(self, model, context_pixel_values, context_num_latents):
        patches = model.encoder(pixel_values=context_pixel_values).last_hidden_state
        return mean_pool(patches, torch.ones_like(patches[..., 0], dtype=torch.bool), context_num_latents)


def pixels_model(tokenizer):
    """As `model_of`, of a kind of context of one's own; "pixels" has to be in CONTEXT_MODALITIES."""
    return model_of(
        tokenizer, context_modality="pixels", pooling="mean", tower_options={"image_size": 16, "patch_size": 4}
    )
