"""Attention masks in the form that transformers takes, where it would wait for the device to make them, or cannot."""

import torch
from transformers.masking_utils import create_masks_for_generate

from .decoder_rows_c3 import is_visible


def mask_of_chunks(config, inputs_embeds, attention_mask, chunk_ids, latents_see_chunk):
    """
    What hides text from what follows its chunk.

    Args:
        config (`PretrainedConfig`): the decoder's.
        inputs_embeds (`torch.Tensor` of shape `(rows, length, D)`): what it reads.
        attention_mask (`torch.Tensor` of shape `(rows, length)`, *optional*): 0 at padding.
        chunk_ids (`torch.LongTensor` of shape `(rows, length)`), latents_see_chunk (`bool`): see `is_visible`.

    Raises:
        ValueError: FlashAttention, which takes no such mask.
    """
    if "flash" in (config._attn_implementation or ""):
        raise ValueError("FlashAttention takes no chunk_ids, which hide text: use attn_implementation='sdpa'.")

    def sees(batch, head, query, key):
        return is_visible(chunk_ids[batch, query], chunk_ids[batch, key], latents_see_chunk)

    if attention_mask is None:
        attention_mask = torch.ones_like(chunk_ids)
    return create_masks_for_generate(config, inputs_embeds, attention_mask, None, and_mask_function=sees)


def mask_of_packed(config, inputs_embeds, window_numbers):
    """What lets every window of packed rows see itself alone; `window_numbers` as in `count_within`."""

    # Told by positions that start again transformers would read whether any do, and wait for the device.
    def sees(batch, head, query, key):
        return window_numbers[batch, query] == window_numbers[batch, key]

    return create_masks_for_generate(config, inputs_embeds, None, None, and_mask_function=sees)


def mask_without_padding(config, inputs_embeds, attention_mask):
    """
    What stands for a mask (`(rows, length)`) that is 1 everywhere, where attention is `sdpa` and a model of this config
    needs none: of the ones transformers would read whether they are ones, and wait for the device. Else the mask.
    """
    if config._attn_implementation != "sdpa":
        return attention_mask
    # Without a mask it would look at positions, to see whether rows are packed; masks that are made already it takes as
    # they are, None among them. Others than None are causal, which not every encoder is.
    made = create_masks_for_generate(config, inputs_embeds, None, None)
    return made if isinstance(made, dict) and all(each is None for each in made.values()) else attention_mask


def mask_with_padding(config, inputs_embeds, attention_mask):
    """
    What a causal language model makes of a mask (`(rows, length)`) that is 0 somewhere, without reading whether it is;
    the mask itself where attention is not `sdpa`, which alone asks.
    """
    if config._attn_implementation != "sdpa":
        return attention_mask
    # To a mask function of ours it adds the padding, and does not ask whether it could do without a mask.
    return create_masks_for_generate(config, inputs_embeds, attention_mask, None, and_mask_function=_sees_all)


def _sees_all(batch, head, query, key):
    return query >= 0


__all__ = ["mask_of_chunks", "mask_of_packed", "mask_with_padding", "mask_without_padding"]
