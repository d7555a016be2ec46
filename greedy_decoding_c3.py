"""From the latents of windows to the token ids that the decoder reads from them greedily, one token a pass."""

import torch
from transformers import DynamicCache, StaticCache

from .expanded_text_c3 import ExpandedWindow


def decode_greedily(model, prompt, spans, suppressed, forced=None, with_margins=False):
    """
    One token of each row a pass, until every row has its tokens.

    Args: as in `decode_windows`.

    Returns: `list[ExpandedWindow]`, the ids of each row, with margins where they are asked for.
    """
    return decode_lengths(model, prompt, [span.num_tokens for span in spans], suppressed, forced, with_margins)


def decode_lengths(model, prompt, lengths, suppressed, forced=None, with_margins=False):
    """As `decode_greedily`, for rows of so many tokens, `list[int]`."""
    rows = Rows(prompt, lengths, forced, with_margins)
    config = model.config.decoder_config
    autocasts = torch.is_autocast_enabled(rows.mask.device.type)
    if autocasts or "flash" in (config._attn_implementation or ""):
        # FlashAttention would read a static cache to its end, beyond what is in it; and under autocast keys and values
        # may differ in dtype, of which a static cache has one.
        cache = DynamicCache(config=config)
    else:
        cache = StaticCache(config=config, max_cache_len=rows.mask.shape[1] + rows.longest - 1)
    logits = model(**prompt, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    places = torch.zeros_like(rows.certain).unsqueeze(1)
    rows.write(places, *choose(logits[:, -1:], suppressed, with_margins))
    step = 0
    while not rows.take_out(cache):
        places = torch.full_like(rows.certain, step).unsqueeze(1)
        logits = model(**rows.read(places), past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        step += 1
        rows.write(places + 1, *choose(logits[:, -1:], suppressed, with_margins))
        rows.certain += 1
    return rows.finished


class Rows:
    """
    The rows of a batch: their tokens, of which the first `certain` are those of greedy decoding, where asked their
    margins, the tokens' positions, and the mask of the cache's columns. Rows that are finished are taken out.
    """

    def __init__(self, prompt, lengths, forced=None, with_margins=False):
        self.mask, positions = prompt["attention_mask"], prompt["position_ids"]
        self.longest = max(lengths)
        self.index = torch.arange(len(lengths), device=self.mask.device)
        self.lengths = torch.tensor(lengths, device=self.mask.device)
        self.certain = torch.ones_like(self.lengths)
        self.ids = self.mask.new_zeros(len(lengths), self.longest, dtype=torch.long)
        self.margins = torch.zeros_like(self.ids, dtype=torch.float32) if with_margins else None
        following = torch.arange(1, self.longest + 1, dtype=positions.dtype, device=positions.device)
        self.positions = positions[:, -1:] + following
        self.finished = [None] * len(lengths)
        self.forced = forced if forced is None else forced.to(self.mask.device)

    def read(self, places):
        """Keywords of the model's forward for the tokens at `places` `(rows, count)`, the cache's next columns."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(places.shape)], dim=1)
        return {
            "input_ids": self.ids.gather(1, places),
            "attention_mask": self.mask,
            "position_ids": self.positions.gather(1, places),
        }

    def forced_or(self, places, ids, margins):
        """The tokens chosen for `places` and their margins, all `(rows, count)`, or what is forced there."""
        if self.forced is None:
            return ids, margins
        forced = self.forced.gather(1, places.to(self.forced.device))
        if margins is not None:
            margins = margins.to(forced.device).masked_fill(forced >= 0, torch.inf)
        return forced.where(forced >= 0, ids.to(forced.device)), margins

    def write(self, places, ids, margins):
        """Keeps the tokens chosen for `places` and their margins, all `(rows, count)`, or what is forced there."""
        ids, margins = self.forced_or(places, ids, margins)
        self.ids.scatter_(1, places, ids.to(self.ids.device))
        if margins is not None:
            self.margins.scatter_(1, places, margins.to(self.ids.device))

    def take_out(self, cache):
        """Moves the rows all of whose tokens are certain to `finished`; returns whether no row is left."""
        is_finished = self.certain >= self.lengths
        if not is_finished.any():
            return False
        for row in is_finished.nonzero().flatten().tolist():
            length = self.lengths[row]
            margins = None if self.margins is None else self.margins[row, :length].tolist()
            self.finished[self.index[row]] = ExpandedWindow(self.ids[row, :length].tolist(), margins)
        if is_finished.all():
            return True
        kept = ~is_finished
        for layer in cache.layers:  # not by batch_select_indices, which a static cache lacks
            here = kept.to(layer.keys.device)
            layer.keys, layer.values = layer.keys[here], layer.values[here]
        for name in ("index", "lengths", "certain", "ids", "margins", "mask", "positions", "forced"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name)[kept])
        self.longest = int(self.lengths.max())
        return False


def choose(logits, suppressed, with_margins=False):
    """
    The likeliest ids, `logits.argmax(-1)` without those that are suppressed; and by how much each leads the next, in
    float32, or None where nobody asks.
    """
    logits.index_fill_(-1, suppressed.to(logits.device), -torch.inf)
    # Of equal ones the first, as argmax does, which on a CPU takes 1.5 times as long, and 4 times in bfloat16.
    first, ids = logits.max(-1)
    if not with_margins:
        return ids, None
    second = logits.scatter_(-1, ids.unsqueeze(-1), -torch.inf).amax(-1)
    return ids, first.float() - second.float()
