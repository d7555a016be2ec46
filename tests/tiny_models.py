"""Texts and configs of tiny causal LMs for the tests."""

from transformers import AutoConfig

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
