"""
From the latents of windows to their token ids, by one of two ways that give the same: one token a pass, or drafted in
parallel; and by transformers' `generate` where processes share a model.
"""

import torch
from transformers import GenerationMixin, StoppingCriteria, StoppingCriteriaList
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from .greedy_decoding_c3 import decode_greedily
from .parallel_decoding_c3 import decode_in_parallel, expected_error_rate, is_worth_drafting

DECODING_METHODS = ("greedy", "parallel")


def decode_windows(model, prompt, spans, suppressed, method=None):
    """
    Args:
        model (`C3Model`): the model.
        prompt (`dict[str, torch.Tensor]`): `inputs_embeds` `(rows, length, D_dec)`, `attention_mask` and
            `position_ids` `(rows, length)`, padded on the left.
        spans (`list[tuple[int, int]]`): latents and tokens of each row.
        suppressed (`torch.LongTensor`): ids that are never chosen.
        method (`str`, *optional*): of `DECODING_METHODS`. By default parallel where the decoder was trained for it, but
            greedy for so many rows, or so many tokens per latent, that correcting the drafts takes longer. A model
            whose weights are shared among processes (ZeRO-3, FSDP) decodes greedily, by transformers' `generate`.

    Returns:
        `list[list[int]]`: the ids of each row.
    """
    latents, lengths = (list(each) for each in zip(*spans, strict=True))
    if _is_sharded(model):
        return _generate_together(model, prompt, lengths, suppressed)
    error_rate = expected_error_rate(sum(lengths) / sum(latents))
    if method is None:
        is_trained = model.mask_embedding is not None
        is_parallel = is_trained and is_worth_drafting(prompt["attention_mask"].device.type, lengths, error_rate)
        method = "parallel" if is_parallel else "greedy"
    if method == "greedy":
        return decode_greedily(model, prompt, lengths, suppressed)
    return decode_in_parallel(model, prompt, lengths, suppressed, error_rate)


def _is_sharded(model):
    """Whether processes share the weights, so that all of them must run the model equally often."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule

    return is_deepspeed_zero3_enabled() or isinstance(model, FSDPModule)


def _generate_together(model, prompt, lengths, suppressed):
    """`decode_greedily` by transformers' `generate`, which under ZeRO-3 goes on until all processes have finished."""
    ids = GenerationMixin.generate(
        model,
        **prompt,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(lengths),
        suppress_tokens=suppressed.tolist() or None,
        stopping_criteria=StoppingCriteriaList([StopAtLengths(lengths)]),
        pad_token_id=0,
    )
    return [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]


class StopAtLengths(StoppingCriteria):
    """Stops row i after `lengths[i]` new tokens; with several beams or sequences a row, all of them."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids, scores, **kwargs):
        # Generation from embeddings starts with no ids, so all ids are new.
        lengths = self.lengths.repeat_interleave(len(input_ids) // len(self.lengths))
        return (lengths <= input_ids.shape[1]).to(input_ids.device)
