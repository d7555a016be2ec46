"""Tiny, randomly initialised C3 models and their processors, the same in every test."""

import pytest
import torch
from transformers import AutoConfig

from c3 import C3Config, C3Model, C3Processor
from c3.tokenizer_c3 import train_tokenizer

TEXTS = [
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "def add(a, b):\n    return a + b\n",
    "短い文章です。 Émigré naïve café — 42 %",
]


def tiny_backbone(model_type, vocab_size, hidden_size=32, **options):
    """Config of a two-layer causal LM."""
    return AutoConfig.for_model(
        model_type,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        **options,
    )


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS * 4, vocab_size=300)


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Makes a model with its processor: `make_model(layout, encoder="qwen2", decoder="qwen3", **config)`."""

    def make(layout="uniform", encoder="qwen3", decoder="qwen3", seed=0, **options):
        torch.manual_seed(seed)
        options = {"num_latents": 8, "window": 32, "use_mask_embedding": True} | options
        config = C3Config(
            encoder_config=tiny_backbone(encoder, len(tokenizer), hidden_size=options.pop("encoder_width", 32)),
            decoder_config=tiny_backbone(decoder, len(tokenizer), hidden_size=options.pop("decoder_width", 32)),
            latent_position_layout=layout,
            # Larger than usual, so that outputs depend on the text and equality tests can fail.
            initializer_range=0.5,
            **options,
        )
        model = C3Model(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3)
        model.processor = C3Processor.from_config(config, tokenizer)
        return model

    return make
