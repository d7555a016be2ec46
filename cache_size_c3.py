"""What a decoder's cache takes."""

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


def cache_bytes(model, length):
    """
    Bytes of the keys and values that a model's decoder keeps of so many positions of one row.

        cache_bytes(model, latents.num_latents + len(model.processor.encode(prompt)))

    Layers x heads of keys and values x their width x 2 x bytes of a number x positions; of a sliding window's layer
    positions up to its window. For attention whose keys and values are alike, as in Qwen, Llama and Gemma; recurrent
    layers, whose states do not grow, do not count.

    Args:
        model ([`C3Model`]): its decoder's shape and dtype count.
        length (`int`): positions: latents, and tokens where there are any.

    Returns: `int`.
    """
    config = model.config.decoder_config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # One less than its window is what such a layer keeps: the next position is the last of the window.
    kept = [
        min(length, layer.sliding_window - 1) if layer.is_sliding else length
        for layer in DynamicCache(config=config).layers
        if isinstance(layer, DynamicLayer)
    ]
    return 2 * heads * width * model.decoder.dtype.itemsize * sum(kept)


__all__ = ["cache_bytes"]
