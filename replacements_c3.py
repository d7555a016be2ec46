"""Where a text that latents were decoded to may be wrong, and which token might stand there instead."""

import torch

from .teacher_forcing_c3 import token_leads


def replacements(model, spans, latents, windows, suppressed):
    """
    The decoder's likeliest other token at every place of a text, those first that are the likeliest instead of the
    text's own.

    Args:
        model ([`C3Model`]): the model.
        spans (`list[LatentSpan]`): of each window.
        latents (`list[torch.Tensor]` of shape `(N, D_dec)`): of each window.
        windows (`list[Sequence[int]]`): tokens that the decoder may have given for each.
        suppressed (`torch.LongTensor`): ids that are never chosen.

    Returns: `list[list[tuple[int, int]]]`, for each window places and tokens.
    """
    found = []
    for leads, others in token_leads(model, spans, torch.cat(list(latents)), windows, suppressed, with_others=True):
        order = leads.argsort()
        found.append(list(zip(order.tolist(), others[order].tolist(), strict=True)))
    return found


__all__ = ["replacements"]
