"""
What the decoder thinks of a text that it is given: by how much each token leads what it would say instead. One pass
over the whole text (teacher forcing) tells it of all tokens.
"""

from itertools import chain

import torch
from torch import nn

from .stored_weights_c3 import execution_device, is_sharded

# Positions whose logits are held at once: those of a large vocabulary need more memory than anything else.
LOGITS_AT_ONCE = 1024


@torch.no_grad()
def token_leads(model, spans, latents, windows, suppressed, with_others=False):
    """
    By how much the logit of each token of a text leads that of the likeliest other, below zero where the decoder would
    say that one instead.

        (leads,) = token_leads(model, latents.spans[0], latents.values, [ids], suppressed)

    Args:
        model ([`C3Model`]): the model.
        spans (`list[LatentSpan]`): of a batch of windows.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): theirs, one window after the other.
        windows (`list[Sequence[int]]`): the tokens of each window.
        suppressed (`torch.LongTensor`): ids that are never chosen.
        with_others (`bool`): tell the ids of these other tokens, too.

    Returns:
        `list[torch.Tensor]`: for each window the leads `(tokens,)`, in float32 on the CPU; with others
        `list[tuple[torch.Tensor, torch.Tensor]]`.
    """
    processor = model.processor
    # What follows the last token is not asked for.
    rows = [processor.row([span], target=list(ids[:-1])) for span, ids in zip(spans, windows, strict=True)]
    device = execution_device(model.get_input_embeddings())  # latents from a file are on the CPU
    batch = {name: each.to(device) for name, each in processor.decoder_inputs(rows).items()}
    batch.pop("labels")
    batch["inputs_embeds"] = model.embed_prompt(batch.pop("input_ids"), latents)
    lengths = list(map(len, windows))
    ids = torch.tensor(list(chain.from_iterable(windows))).split(LOGITS_AT_ONCE)
    logits = _logits(model, batch, lengths)
    found = [_leads(*each, suppressed, with_others) for each in zip(logits, ids, strict=True)]
    leads, *others = (torch.cat(each).cpu().split(lengths) for each in zip(*found, strict=True))
    return list(zip(leads, *others, strict=True)) if with_others else list(leads)


def _logits(model, batch, lengths):
    """Yields the logits, `(LOGITS_AT_ONCE, vocab)`, of the tokens of all rows; row i ends with its `lengths[i]`."""
    if is_sharded(model):
        kept = model(**batch, use_cache=False, logits_to_keep=max(lengths)).logits
        head = nn.Identity()
    else:
        kept = model.decoder.base_model(**batch, use_cache=False).last_hidden_state
        head = model.decoder.get_output_embeddings()
    # The text ends every row.
    rows = torch.cat([row[-length:] for row, length in zip(kept, lengths, strict=True)])
    return map(head, rows.split(LOGITS_AT_ONCE))


def _leads(logits, ids, suppressed, with_others):
    logits.index_fill_(-1, suppressed.to(logits.device), -torch.inf)
    ids = ids.to(logits.device).unsqueeze(-1)
    own = logits.gather(-1, ids).squeeze(-1).float()
    logits.scatter_(-1, ids, -torch.inf)
    if with_others:
        best, other = logits.max(-1)
        return own - best.float(), other
    return (own - logits.amax(-1).float(),)  # several times as fast


__all__ = ["token_leads"]
