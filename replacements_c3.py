"""Where a text that latents were decoded to may be wrong, and which token might stand there instead."""

import torch

# Positions whose logits are held at once: those of a large vocabulary need more memory than anything else.
LOGITS_AT_ONCE = 1024


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
    for leads, others in _leads(model, spans, latents, windows, suppressed):
        order = leads.argsort()
        found.append(list(zip(order.tolist(), others[order].tolist(), strict=True)))
    return found


def margins_of(model, spans, latents, windows, suppressed):
    """
    By how much the logit of each token of texts leads the likeliest other one, `list[list[float]]`; below zero where
    the decoder would choose that. Arguments as of `replacements`.
    """
    return [leads.tolist() for leads, _ in _leads(model, spans, latents, windows, suppressed)]


@torch.no_grad()
def _leads(model, spans, latents, windows, suppressed):
    """For each window by how much each of its tokens leads the likeliest other, and that one's id, both `(tokens,)`."""
    processor = model.processor
    rows = [processor.row([span], target=list(ids)) for span, ids in zip(spans, windows, strict=True)]
    values = torch.cat(list(latents))
    batch = {name: each.to(values.device) for name, each in processor.decoder_inputs(rows).items()}
    labels = batch.pop("labels")[:, 1:]
    embeds = model.embed_prompt(batch.pop("input_ids"), values)
    states = model.decoder.base_model(inputs_embeds=embeds, use_cache=False, **batch).last_hidden_state[:, :-1]
    is_text = labels != -100
    pieces = zip(states[is_text].split(LOGITS_AT_ONCE), labels[is_text].split(LOGITS_AT_ONCE), strict=True)
    found = [_lead(model.decoder.get_output_embeddings()(some).float(), ids, suppressed) for some, ids in pieces]
    leads, others = (torch.cat(each).cpu() for each in zip(*found, strict=True))
    lengths = list(map(len, windows))
    return zip(leads.split(lengths), others.split(lengths), strict=True)


def _lead(logits, ids, suppressed):
    logits.index_fill_(-1, suppressed.to(logits.device), -torch.inf)
    ids = ids.to(logits.device).unsqueeze(-1)
    own = logits.gather(-1, ids).squeeze(-1)
    best, other = logits.scatter_(-1, ids, -torch.inf).max(-1)
    return own - best, other


__all__ = ["margins_of", "replacements"]
