"""The sizes that are measured. Random weights cost as much as trained ones, but give nothing back of a text."""

import torch
from transformers import AutoTokenizer, Qwen2Config

from c3 import C3Config, C3Model, C3Processor
from c3.support.loading import PACKAGE, loaded_model

# The ends of text are those of the tokenizer that all sizes share.
ENDS = dict(bos_token_id=None, eos_token_id=0, pad_token_id=0)
QWEN = ENDS | dict(
    vocab_size=151936,
    max_position_embeddings=32768,
    rope_parameters=dict(rope_type="default", rope_theta=1e6),
)
# Shapes as in the configs of Qwen/Qwen2.5-1.5B and Qwen/Qwen2.5-3B; the window and the number of latents are those of
# the authors' released checkpoint (arXiv 2511.15244), the layout is the default checkpoint's, which takes any ratio.
QWEN_1_5B = QWEN | dict(
    hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2
)
QWEN_3B = QWEN | dict(
    hidden_size=2048,
    intermediate_size=11008,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
TINY = ENDS | dict(
    vocab_size=8192,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=4096,
)
# By name: None for the default checkpoint, else what a model of random weights is made of.
SIZES = {
    "mini": None,
    "tiny": dict(encoder=TINY, decoder=TINY, window=64, num_latents=8, deviation=0.3),
    "large": dict(encoder=QWEN_1_5B, decoder=QWEN_3B, window=1024, num_latents=32, deviation=0.02),
}


def make_model(size, device, dtype):
    """
    Args:
        size (`str`): of `SIZES`.
        device, dtype (`str`): where the model runs, and in what.

    Returns: [`C3Model`] in evaluation mode, with the default checkpoint's tokenizer.
    """
    parts = SIZES[size]
    if parts is None:
        with loaded_model(None, device, dtype) as model:
            # Prompts are timed here, whatever the answers are; before latents and before the text by the same weights.
            model.config.reconstruction_only, model.config.prompt_adapter = False, None
            # So are as many positions as the latents of 64k tokens take.
            model.config.decoder_config.max_position_embeddings *= 2
            return model
    config = C3Config(
        encoder_config=Qwen2Config(**parts["encoder"]),
        decoder_config=Qwen2Config(**parts["decoder"]),
        window=parts["window"],
        num_latents=parts["num_latents"],
        latent_position_layout="uniform",
        use_mask_embedding=True,
    )
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        torch.set_default_dtype(getattr(torch, dtype))
        # Made where they stay: 4.6 billion weights twice, or once in float32, are more than a machine may have. Not by
        # set_default_device, which cannot be undone: Python would then be asked at every call of torch.
        with torch.device(device):
            model = C3Model(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parts["deviation"])
    model.processor = C3Processor.from_config(config, AutoTokenizer.from_pretrained(PACKAGE, trust_remote_code=False))
    return model.eval()


def is_trained(size):
    """Whether the model of that size gives texts back."""
    return SIZES[size] is None
