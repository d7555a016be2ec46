"""
Two ways from the latents of windows to the token ids that the decoder reads from them greedily: one token a pass, or
all tokens of a window drafted in one pass and corrected until they are what the first way gives.
"""

import torch
from transformers import DynamicCache

DECODING_METHODS = ("greedy", "parallel")


def decode_greedily(model, prompt, lengths, suppressed):
    """
    One token of each row a pass, until every row has its tokens. The number of passes is the longest row's number of
    tokens whatever the weights are, which processes that share a model (ZeRO-3, FSDP) rely on.

    Args:
        model (`C3Model`): the model.
        prompt (`dict[str, torch.Tensor]`): `inputs_embeds` `(rows, length, D_dec)`, `attention_mask` and
            `position_ids` `(rows, length)`, padded on the left.
        lengths (`list[int]`): tokens of each row.
        suppressed (`torch.LongTensor`): ids that are never chosen.

    Returns:
        `list[list[int]]`: the ids of each row.
    """
    rows = _Rows(prompt, lengths)
    cache = DynamicCache(config=model.config.decoder_config)
    inputs, step = prompt, 0
    while True:
        logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        rows.ids[:, step] = _choose(logits[:, -1], suppressed)
        step += 1
        if rows.take_out(rows.lengths <= step, cache):
            return rows.finished
        inputs = rows.inputs(step - 1, step)


def decode_in_parallel(model, prompt, lengths, suppressed):
    """
    Drafts all tokens of all rows in one pass in which the decoder sees its mask embedding in the place of every token,
    as in training with decoder-input dropout, and so has only the latents to read. Then it reads the draft: at each
    position comes the token that follows greedily on what stands before it. So the tokens up to the first that changes,
    and that one, are those of `decode_greedily`; the others are a better draft for the next pass. (Jacobi iteration of
    greedy decoding: Santilli et al., arXiv 2305.10427.)

    Args, returns: as `decode_greedily`. The ids are the same but for rounding: where two tokens are all but equally
    likely, passes over other numbers of tokens may choose differently.
    """
    rows = _Rows(prompt, lengths)
    cache = DynamicCache(config=model.config.decoder_config)
    hidden = rows.ids.new_full((len(lengths), rows.longest - 1), model.config.mask_token_id)
    inputs = rows.inputs(-rows.prompt_length, rows.longest - 1)
    inputs["inputs_embeds"] = torch.cat([prompt["inputs_embeds"], model.embed_prompt(hidden)], dim=1)
    del inputs["input_ids"]
    logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=rows.longest).logits
    rows.ids[:] = _choose(logits, suppressed)
    # Of each row so many tokens are certain to be greedy decoding's.
    certain = torch.ones_like(rows.lengths)
    while True:
        is_finished = certain >= rows.lengths
        certain = certain[~is_finished]
        if rows.take_out(is_finished, cache):
            return rows.finished
        # The last certain token of a row was not what the last pass read.
        cached = int(certain.min()) - 1
        _crop(cache, rows.prompt_length + cached)
        inputs = rows.inputs(cached, rows.longest - 1)
        found = _choose(model(**inputs, past_key_values=cache, use_cache=True).logits, suppressed)
        draft = rows.ids[:, cached + 1 : rows.longest]
        # What is certain stays, so that rounding cannot undo it.
        places = torch.arange(cached + 1, rows.longest, device=draft.device)
        found = torch.where(places < certain.unsqueeze(-1), draft, found)
        certain = cached + 2 + (found == draft).long().cumprod(-1).sum(-1)
        rows.ids[:, cached + 1 : rows.longest] = found


class _Rows:
    """The rows of a batch: their tokens, mask and positions. Finished rows are taken out."""

    def __init__(self, prompt, lengths):
        device = prompt["attention_mask"].device
        self.prompt_length = prompt["attention_mask"].shape[1]
        self.lengths = torch.tensor(lengths, device=device)
        self.longest = max(lengths)
        self.index = torch.arange(len(lengths), device=device)
        self.ids = torch.zeros(len(lengths), self.longest, dtype=torch.long, device=device)
        mask, positions = prompt["attention_mask"], prompt["position_ids"]
        following = torch.arange(1, self.longest + 1, dtype=positions.dtype, device=device)
        self.mask = torch.cat([mask, mask.new_ones(len(lengths), self.longest)], dim=1)
        self.positions = torch.cat([positions, positions[:, -1:] + following], dim=1)
        self.finished = [None] * len(lengths)

    def inputs(self, start, end):
        """Keywords of the model's forward for tokens `start` to `end` of the rows; negative ones are the prompt's."""
        return {
            "input_ids": self.ids[:, max(start, 0) : end],
            "attention_mask": self.mask[:, : self.prompt_length + end],
            "position_ids": self.positions[:, self.prompt_length + start : self.prompt_length + end],
        }

    def take_out(self, is_finished, cache):
        """
        Remembers the ids of finished rows, `torch.BoolTensor` of shape `(rows,)`, and goes on without them.

        Returns: `bool`, whether no row is left.
        """
        if not is_finished.any():
            return False
        for row in is_finished.nonzero().flatten().tolist():
            self.finished[self.index[row]] = self.ids[row, : self.lengths[row]].tolist()
        if is_finished.all():
            return True
        kept = (~is_finished).nonzero().flatten()
        cache.batch_select_indices(kept)
        for name in ("index", "lengths", "ids", "mask", "positions"):
            setattr(self, name, getattr(self, name)[kept])
        self.longest = int(self.lengths.max())
        return False


def _choose(logits, suppressed):
    """The likeliest ids, `logits.argmax(-1)` without those that are suppressed."""
    return logits.index_fill_(-1, suppressed.to(logits.device), -torch.inf).argmax(-1)


def _crop(cache, length):
    """Cuts a cache to so many positions; all versions of transformers take the number to remove, with a minus."""
    cache.crop(length - cache.get_seq_length())
