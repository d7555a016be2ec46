"""What the arithmetic of a decoder's prefill says."""

from c3.eval.generation_costs import flops_of_matrices


def prefill_flops(config, length):
    """
    Floating-point operations until the first token is known, a multiplication and an addition counted as two.

    With L layers, width d, H heads (G for keys) of width h, feed-forward width f (three matrices), vocabulary V and n
    positions:

        2 n L (2 d H h + 2 d G h + 3 d f)    matrices, for every position
        + 2 n^2 L H h                        scores and values under the causal mask: half of 4 n^2 L H h
        + 2 d V                              the vocabulary head, for the last position alone

    Norms, rotary embeddings and the softmax are left out.

    Args:
        config (`PreTrainedConfig`): of the decoder.
        length (`int`): positions, n.
    """
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = 2 * length**2 * layers * heads * head_width
    return length * flops_of_matrices(config) + attention + 2 * config.hidden_size * config.vocab_size
