"""How the encoder's states become latents where no queries are appended: the mean over stretches of the text."""

import torch


def mean_pool(hidden_states, is_text, counts):
    """
    Mean pooling, as in Latent Context Language Models (LCLM, arXiv 2606.09659): latent i of N is the mean of the states
    of the i-th of N consecutive stretches of a window's text, whose lengths differ by at most one token. Where there
    are fewer tokens than latents, neighbouring latents share a token.

    Args:
        hidden_states (`torch.Tensor` of shape `(windows, length, D_enc)`): the encoder's final states.
        is_text (`torch.BoolTensor` of shape `(windows, length)`): False at padding and placeholders.
        counts (`torch.LongTensor` of shape `(windows,)`): N of each window.

    Returns:
        `torch.Tensor` of shape `(latents, D_enc)`: of all windows, one after the other.

    Raises:
        ValueError: a window that is to have latents holds no text.
    """
    lengths = is_text.sum(-1)
    if bool(((lengths == 0) & (counts > 0)).any()):
        raise ValueError("A window holds no text to take the mean of; give every window text, or no latents.")
    index = torch.arange(int(counts.max()), device=counts.device)
    per_window = counts.clamp(min=1).unsqueeze(-1)
    # Whole numbers: stretch i ends where the next one starts, whatever the device.
    first = index * lengths.unsqueeze(-1) // per_window
    last = torch.maximum(first + 1, (index + 1) * lengths.unsqueeze(-1) // per_window)
    place = (is_text.cumsum(-1) - 1).unsqueeze(1)
    is_inside = (place >= first.unsqueeze(-1)) & (place < last.unsqueeze(-1)) & is_text.unsqueeze(1)
    # What stands at padding is anything, perhaps no number.
    hidden_states = hidden_states.masked_fill(~is_text.unsqueeze(-1), 0)
    sums = is_inside.to(hidden_states.dtype) @ hidden_states
    means = sums / (last - first).unsqueeze(-1).to(sums.dtype)
    return means[index < counts.unsqueeze(-1)].to(hidden_states.dtype)
