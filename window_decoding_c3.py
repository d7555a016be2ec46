"""From the latents of a batch of windows to their token ids: what the decoder reads, and the ways to decode it."""

import torch
from transformers import GenerationMixin, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from .expanded_text_c3 import ExpandedWindow
from .greedy_decoding_c3 import decode_greedily
from .parallel_decoding_c3 import decode_in_parallel, is_worth_drafting
from .stored_weights_c3 import execution_device, is_sharded

# By name, `(model, prompt, spans, suppressed, forced, with_margins) -> list[ExpandedWindow]`, see `decode_windows`.
DECODING_METHODS = {"greedy": decode_greedily, "parallel": decode_in_parallel}


def prompt_embeds(model, rows, latents):
    """
    What the decoder reads of latents and prompts, as keywords of `C3Model.forward` and of `GenerationMixin.generate`.

    Args:
        model ([`C3Model`]): the model.
        rows (`list`): of segments, see `C3Processor.row`.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): of all rows, in order.

    Returns:
        `dict`: `inputs_embeds` `(rows, length, D_dec)`, `attention_mask` and `position_ids` `(rows, length)`, padded on
        the left.
    """
    device = execution_device(model.get_input_embeddings())
    batch = {name: each.to(device) for name, each in model.processor.decoder_inputs(rows).items()}
    return {"inputs_embeds": model.embed_prompt(batch.pop("input_ids"), latents), **batch}


def decode_windows(model, prompt, spans, suppressed, method=None, forced=None, with_margins=False):
    """
    From the latents of windows to their token ids, by one of two ways that give the same: one token a pass, or drafted
    in parallel; and by transformers' `generate` where processes share a model.

    Args:
        model (`C3Model`): the model.
        prompt (`dict[str, torch.Tensor]`): see `prompt_embeds`.
        spans (`list[LatentSpan]`): latents and tokens of each row.
        suppressed (`torch.LongTensor`): ids that are never chosen.
        forced (`torch.LongTensor` of shape `(rows, tokens)`, *optional*): ids that are taken instead of the decoder's
            own; -1 where there is none.
        method (`str`, *optional*): of `DECODING_METHODS`. By default parallel where the decoder was trained for it, but
            greedy for so many rows, or so many tokens per latent, that correcting the drafts takes longer. A model
            whose weights are shared among processes (ZeRO-3, FSDP) decodes greedily, by transformers' `generate`.
        with_margins (`bool`): tell by how much each token led the next.

    Returns:
        `list[ExpandedWindow]`: the ids of each row, and their margins where asked; without texts.
    """
    if is_sharded(model):
        lengths = [span.num_tokens for span in spans]
        return _generate_together(model, prompt, lengths, suppressed, forced, with_margins)
    if method is None:
        is_trained = model.mask_embedding is not None
        is_parallel = is_trained and is_worth_drafting(prompt["attention_mask"].device.type, spans)
        method = "parallel" if is_parallel else "greedy"
    found = DECODING_METHODS[method](model, prompt, spans, suppressed, forced, with_margins)
    if with_margins and any(window.margins is None for window in found):
        raise ValueError(f"method={method!r} gives no margins, which return_scores needs; use method='greedy'.")
    return found


def _generate_together(model, prompt, lengths, suppressed, forced, with_margins=False):
    """`decode_greedily` by transformers' `generate`, which under ZeRO-3 goes on until all processes have finished."""
    margins = RecordMargins()
    processors = [] if forced is None else [ForceTokens(forced)]
    ids = GenerationMixin.generate(
        model,
        **prompt,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(lengths),
        suppress_tokens=suppressed.tolist() or None,
        stopping_criteria=StoppingCriteriaList([StopAtLengths(lengths)]),
        logits_processor=LogitsProcessorList([*processors, margins] if with_margins else processors),
        pad_token_id=0,
    )
    rows = zip(ids.tolist(), margins.of_rows() if with_margins else [None] * len(lengths), lengths, strict=True)
    return [ExpandedWindow(row[:length], led and led[:length]) for row, led, length in rows]


class ForceTokens(LogitsProcessor):
    """Has row i choose `forced[i, n]`, `(rows, tokens)`, as its n-th new token, where that is no -1."""

    def __init__(self, forced):
        self.forced = forced

    def __call__(self, input_ids, scores):
        # Generation from embeddings starts with no ids, so all ids are new.
        forced = self.forced[:, input_ids.shape[1] : input_ids.shape[1] + 1].to(scores.device)
        forced = forced.repeat_interleave(len(scores) // len(self.forced), dim=0)
        is_other = torch.arange(scores.shape[-1], device=scores.device) != forced
        return scores.masked_fill(is_other & (forced >= 0), -torch.inf)


class RecordMargins(LogitsProcessor):
    """Keeps by how much the likeliest token of each row leads the next, at each step; changes nothing."""

    def __init__(self):
        self.steps = []

    def __call__(self, input_ids, scores):
        first, second = scores.topk(2, dim=-1).values.float().unbind(-1)
        self.steps.append(first - second)
        return scores

    def of_rows(self):
        """`list[list[float]]`, of each row one margin a step."""
        return torch.stack(self.steps, dim=1).tolist()


class StopAtLengths(StoppingCriteria):
    """Stops row i after `lengths[i]` new tokens; with several beams or sequences a row, all of them."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids, scores, **kwargs):
        # Generation from embeddings starts with no ids, so all ids are new.
        lengths = self.lengths.repeat_interleave(len(input_ids) // len(self.lengths))
        return (lengths <= input_ids.shape[1]).to(input_ids.device)
