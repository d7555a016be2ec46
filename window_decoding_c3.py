"""
Two ways from the latents of windows to the token ids that the decoder reads from them greedily: one token a pass, or
all tokens of a window drafted in one pass and corrected until they are what the first way gives.
"""

import torch
from transformers import DynamicCache, GenerationMixin, StaticCache, StoppingCriteria, StoppingCriteriaList
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

DECODING_METHODS = ("greedy", "parallel")
# A pass costs as much as so many positions more than it computes: measured with the default checkpoint in float32 on
# two CPU cores; on accelerators passes over few positions leave most of the device idle.
PASS_IN_POSITIONS = {"cpu": 64}
PASS_IN_POSITIONS_ELSEWHERE = 4096
# Times that drafting computes each position, before a draft is known: measured at 4 to 8 tokens per latent.
EXPECTED_PASSES = 2.3
# Positions of windows that are drafted at once; windows beyond are the next group's. What larger passes compute leaves
# a CPU's caches.
DRAFTED_AT_ONCE = {"cpu": 2048}
# Positions whose logits are held at once: those of a large vocabulary need more memory than anything else.
LOGITS_AT_ONCE = 1024


def decode_windows(model, prompt, lengths, suppressed, method=None):
    """
    Args:
        model (`C3Model`): the model.
        prompt (`dict[str, torch.Tensor]`): `inputs_embeds` `(rows, length, D_dec)`, `attention_mask` and
            `position_ids` `(rows, length)`, padded on the left.
        lengths (`list[int]`): tokens of each row.
        suppressed (`torch.LongTensor`): ids that are never chosen.
        method (`str`, *optional*): of `DECODING_METHODS`. By default parallel where the decoder was trained for it, but
            greedy for so many rows that the passes of greedy decoding are as efficient as larger ones. A model whose
            weights are shared among processes (ZeRO-3, FSDP) decodes greedily, by transformers' `generate`.

    Returns:
        `list[list[int]]`: the ids of each row.
    """
    if _is_sharded(model):
        return _generate_together(model, prompt, lengths, suppressed)
    if method is None:
        greedy_cost = _cost(prompt, len(lengths)) * max(lengths)
        parallel_cost = _cost(prompt, len(lengths) * max(lengths)) * EXPECTED_PASSES
        is_parallel = model.mask_embedding is not None and parallel_cost <= greedy_cost
        method = "parallel" if is_parallel else "greedy"
    if method == "greedy":
        return decode_greedily(model, prompt, lengths, suppressed)
    device = prompt["attention_mask"].device.type
    at_once = max(1, DRAFTED_AT_ONCE[device] // max(lengths)) if device in DRAFTED_AT_ONCE else len(lengths)
    groups = [slice(start, start + at_once) for start in range(0, len(lengths), at_once)]
    return [
        ids for rows in groups for ids in decode_in_parallel(model, _of_rows(prompt, rows), lengths[rows], suppressed)
    ]


def _of_rows(prompt, rows):
    """A prompt of some of the rows, `slice`, without the columns that only pad the others."""
    chosen = {name: each[rows] for name, each in prompt.items()}
    first = int(chosen["attention_mask"].any(0).long().argmax())
    return {name: each[:, first:] for name, each in chosen.items()}


def decode_greedily(model, prompt, lengths, suppressed):
    """
    One token of each row a pass, until every row has its tokens. Arguments and result as in `decode_windows`.
    """
    rows = _Rows(prompt, lengths)
    config = model.config.decoder_config
    if "flash" in (config._attn_implementation or ""):
        # It would read a static cache to its end, beyond what is in it.
        cache = DynamicCache(config=config)
    else:
        cache = StaticCache(config=config, max_cache_len=rows.prompt_length + rows.longest - 1)
    logits = model(**prompt, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    rows.ids[:, 0] = _choose(logits[:, -1], suppressed)
    return _go_on_greedily(model, rows, cache, 0, suppressed)


def decode_in_parallel(model, prompt, lengths, suppressed):
    """
    Drafts all tokens of all rows in one pass in which the decoder sees its mask embedding in the place of every token,
    as in training with decoder-input dropout, and so has only the latents to read. Then it reads the draft: at each
    position comes the token that follows greedily on what stands before it. So the tokens up to the first that changes,
    and that one, are those of `decode_greedily`; the others are a better draft for the next pass. (Jacobi iteration of
    greedy decoding: Santilli et al., arXiv 2305.10427.) Where the drafts have so many errors that it is not worth
    it, the rows that are left go on one token a pass.

    Arguments as in `decode_windows`. The ids are those of `decode_greedily` but for rounding: where two tokens are all
    but equally likely, passes over other numbers of tokens may choose differently.
    """
    rows = _Rows(prompt, lengths)
    cache = DynamicCache(config=model.config.decoder_config)
    hidden = rows.ids.new_full((len(lengths), rows.longest - 1), model.config.mask_token_id)
    inputs = rows.inputs(-rows.prompt_length, rows.longest - 1)
    inputs["inputs_embeds"] = torch.cat([prompt["inputs_embeds"], model.embed_prompt(hidden)], dim=1)
    del inputs["input_ids"]
    rows.ids[:] = _choices(model, inputs, cache, rows.longest, suppressed)
    errors = None
    while not rows.take_out(cache):
        # The last certain token of a row was not what the last pass read.
        known = int(rows.certain.min()) - 1
        cache.crop(rows.prompt_length + known - cache.get_seq_length())
        left = rows.longest - 1 - known
        if errors is not None and _drafts_cost_more(prompt, rows, left, errors):
            return _go_on_greedily(model, rows, cache, known, suppressed)
        found = _choices(model, rows.inputs(known, rows.longest - 1), cache, left, suppressed)
        draft = rows.ids[:, known + 1 : rows.longest]
        # What is certain stays, so that rounding cannot undo it.
        places = torch.arange(known + 1, rows.longest, device=draft.device)
        found = torch.where(places < rows.certain.unsqueeze(-1), draft, found)
        is_same = found == draft
        rows.certain = known + 2 + is_same.long().cumprod(-1).sum(-1)
        rows.ids[:, known + 1 : rows.longest] = found
        is_left = rows.certain < rows.lengths
        errors = float((~is_same[is_left]).sum()) / max(1, int(is_left.sum()))
    return rows.finished


def _drafts_cost_more(prompt, rows, left, errors):
    """
    Whether to correct the drafts of the rows costs more than one token a pass. A pass corrects about one error of each
    row; `errors` is how many a row had in the last one. Rows leave as they go, so on average half of the work is there.
    """
    count = len(rows.ids)
    return errors * _cost(prompt, count * left / 2) > left * _cost(prompt, count)


def _cost(prompt, positions):
    """What a pass over so many positions costs, in positions."""
    return positions + PASS_IN_POSITIONS.get(prompt["attention_mask"].device.type, PASS_IN_POSITIONS_ELSEWHERE)


def _go_on_greedily(model, rows, cache, step, suppressed):
    """One token of each row a pass from token `step`, the first that is not in the cache; certain tokens stay."""
    while not rows.take_out(cache):
        inputs = rows.inputs(step, step + 1)
        logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        step += 1
        is_new = rows.certain <= step
        rows.ids[:, step] = torch.where(is_new, _choose(logits[:, -1], suppressed), rows.ids[:, step])
        rows.certain = rows.certain + is_new.long()
    return rows.finished


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
        stopping_criteria=StoppingCriteriaList([_StopAtLengths(lengths)]),
        pad_token_id=0,
    )
    return [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]


class _StopAtLengths(StoppingCriteria):
    """Stops row i after `lengths[i]` new tokens."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids, scores, **kwargs):
        # Generation from embeddings starts with no ids, so all ids are new.
        return (self.lengths <= input_ids.shape[1]).to(input_ids.device)


class _Rows:
    """
    Rows of a batch: their tokens, of which the first `certain` are greedy decoding's, their mask and positions. Those
    that are finished are taken out.
    """

    def __init__(self, prompt, lengths):
        mask, positions = prompt["attention_mask"], prompt["position_ids"]
        self.prompt_length = mask.shape[1]
        self.longest = max(lengths)
        self.index = torch.arange(len(lengths), device=mask.device)
        self.lengths = torch.tensor(lengths, device=mask.device)
        self.certain = torch.ones_like(self.lengths)
        self.ids = mask.new_zeros(len(lengths), self.longest, dtype=torch.long)
        self.mask = torch.cat([mask, mask.new_ones(len(lengths), self.longest)], dim=1)
        following = torch.arange(1, self.longest + 1, dtype=positions.dtype, device=mask.device)
        self.positions = torch.cat([positions, positions[:, -1:] + following], dim=1)
        self.finished = [None] * len(lengths)

    def inputs(self, start, end):
        """Keywords of the model's forward for tokens `start` to `end` of the rows; negative ones are the prompt's."""
        return {
            "input_ids": self.ids[:, max(start, 0) : end],
            "attention_mask": self.mask[:, : self.prompt_length + end],
            "position_ids": self.positions[:, self.prompt_length + start : self.prompt_length + end],
        }

    def take_out(self, cache):
        """Moves the rows all of whose tokens are certain to `finished`; returns whether no row is left."""
        is_finished = self.certain >= self.lengths
        if not is_finished.any():
            return False
        for row in is_finished.nonzero().flatten().tolist():
            self.finished[self.index[row]] = self.ids[row, : self.lengths[row]].tolist()
        if is_finished.all():
            return True
        kept = ~is_finished
        for layer in cache.layers:  # not by batch_select_indices, which a static cache lacks
            layer.keys, layer.values = layer.keys[kept], layer.values[kept]
        for name in ("index", "lengths", "certain", "ids", "mask", "positions"):
            setattr(self, name, getattr(self, name)[kept])
        self.longest = int(self.lengths.max())
        return False


def _choices(model, inputs, cache, count, suppressed):
    """The likeliest ids after the last `count` positions, `torch.LongTensor` of shape `(rows, count)`."""
    if "input_ids" in inputs:
        inputs["inputs_embeds"] = model.embed_prompt(inputs.pop("input_ids"))
    states = model.decoder.base_model(**inputs, past_key_values=cache, use_cache=True).last_hidden_state[:, -count:]
    head = model.decoder.get_output_embeddings()
    # Some decoders scale or cap their logits after this, which changes no order.
    pieces = states.reshape(-1, states.shape[-1]).split(LOGITS_AT_ONCE)
    return torch.cat([_choose(head(each), suppressed) for each in pieces]).view(states.shape[:2])


def _choose(logits, suppressed):
    """The likeliest ids, `logits.argmax(-1)` without those that are suppressed."""
    return logits.index_fill_(-1, suppressed.to(logits.device), -torch.inf).argmax(-1)
