"""Attention by batched matrix products, for training on CPUs.

The CPU kernel behind `sdpa` has a slow backward pass at small head widths (four times the cost of these three
operations at width 32 in bfloat16). Importing this file registers `attn_implementation="cpu_matmul"`.
"""

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

# Far below any score, and finite in float16, bfloat16 and float32.
LOWEST_SCORE = -30000.0


def cpu_matmul_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """
    Softmax attention in the inputs' dtype.

    Args:
        query, key, value (`torch.Tensor` of shape `(batch, heads, length, head width)`); fewer key heads are repeated.
        attention_mask (`torch.Tensor` of shape `(1 or batch, 1, queries, keys)`, *optional*): added to the scores.
        scaling (`float`, *optional*): of the scores, by default 1 / sqrt(head width).

    Returns:
        `torch.Tensor` of shape `(batch, queries, heads, head width)`, and None for the weights.
    """
    batch, heads, length, width = query.shape
    if key.shape[1] != heads:
        key, value = (each.repeat_interleave(heads // each.shape[1], dim=1) for each in (key, value))
    keys = key.shape[2]
    if attention_mask is None:
        attention_mask = query.new_zeros(1, 1, 1, 1)
    # Autocast turns the mask's lowest float32 into -inf, and with it a row that is all padding into NaN.
    mask = attention_mask.clamp(min=LOWEST_SCORE).to(query.dtype)
    mask = mask.expand(batch, heads, length, keys).reshape(batch * heads, length, keys)
    scores = torch.baddbmm(
        mask,
        query.reshape(batch * heads, length, width),
        key.reshape(batch * heads, keys, width).transpose(1, 2),
        alpha=width**-0.5 if scaling is None else scaling,
    )
    weights = torch.nn.functional.dropout(scores.softmax(-1), p=dropout, training=module.training)
    output = torch.bmm(weights, value.reshape(batch * heads, keys, width))
    return output.view(batch, heads, length, width).transpose(1, 2).contiguous(), None


AttentionInterface.register("cpu_matmul", cpu_matmul_attention)
AttentionMaskInterface.register("cpu_matmul", eager_mask)
