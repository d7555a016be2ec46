"""
What the decoder thinks of a text that it is given: by how much each token leads what it would say instead. One pass
over the whole text (teacher forcing) tells it of all tokens.
"""

import torch

from .stored_weights_c3 import execution_device

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
    rows = [processor.row([span], target=list(ids)) for span, ids in zip(spans, windows, strict=True)]
    device = execution_device(model.get_input_embeddings())  # latents from a file are on the CPU
    batch = {name: each.to(device) for name, each in processor.decoder_inputs(rows).items()}
    labels = batch.pop("labels")[:, 1:]
    inputs = {name: each[:, :-1] for name, each in batch.items()}  # nothing follows the last token
    embeds = model.embed_prompt(inputs.pop("input_ids"), latents)
    states = model.decoder.base_model(inputs_embeds=embeds, use_cache=False, **inputs).last_hidden_state
    is_text = labels != -100
    pieces = zip(states[is_text].split(LOGITS_AT_ONCE), labels[is_text].split(LOGITS_AT_ONCE), strict=True)
    head = model.decoder.get_output_embeddings()
    found = [_leads(head(some), ids, suppressed, with_others) for some, ids in pieces]
    lengths = list(map(len, windows))
    leads, *others = (torch.cat(each).cpu().split(lengths) for each in zip(*found, strict=True))
    return list(zip(leads, *others, strict=True)) if with_others else list(leads)


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
