"""
From the latents of windows to the token ids that the decoder reads from them greedily, in fewer passes than there are
tokens: all tokens of a window are drafted in one pass and corrected until they are what one token a pass gives.
"""

import math

import numpy as np
import torch
from transformers import DynamicCache

from .greedy_decoding_c3 import Rows, choose, decode_lengths
from .teacher_forcing_c3 import LOGITS_AT_ONCE

# A pass costs as much as so many positions more than it computes: measured with the default checkpoint in float32 on
# two CPU cores; on accelerators passes over few positions leave most of the device idle.
PASS_IN_POSITIONS = {"cpu": 80}
PASS_IN_POSITIONS_ELSEWHERE = 4096
# Errors of a draft for each token that is checked, by tokens per latent: what is expected before a draft is known.
# Measured with the default checkpoint on 64 windows of English pages; between them by straight lines.
DRAFT_ERRORS = {4: 0.05, 8: 0.11, 16: 0.21, 20: 0.30, 25: 0.42, 32: 0.56, 50: 0.79}
# By how much drafts have to be the cheaper in positions to be so in time: errors come in bursts, and what reads drafts
# costs more than a greedy pass. Measured on a CPU with 1, 4, 16 and 64 windows at the ratios above; not on a GPU.
DRAFT_MARGIN = 1.9


def is_worth_drafting(device, spans):
    """
    Whether rows are likely to be decoded sooner in parallel than greedily.

    Args:
        device (`str`): the type of the device.
        spans (`list[LatentSpan]`): latents and tokens of each row.
    """
    rows, longest = len(spans), max(span.num_tokens for span in spans)
    error_rate = expected_error_rate(spans)
    widths = torch.arange(1, longest + 1)
    reading = (pass_cost(device, rows * widths) * longest / _certain_tokens(widths, error_rate)).min()
    drafted = pass_cost(device, rows * longest) + float(reading)
    return DRAFT_MARGIN * drafted <= pass_cost(device, rows) * longest


def expected_error_rate(spans):
    """The share of wrong tokens, `float`, to expect in a draft of such windows, `list[LatentSpan]`."""
    tokens_per_latent = sum(span.num_tokens for span in spans) / sum(span.num_latents for span in spans)
    return float(np.interp(tokens_per_latent, list(DRAFT_ERRORS), list(DRAFT_ERRORS.values())))


def _certain_tokens(read, error_rate):
    """Tokens that become certain where so many are read: up to the first error, the sum of the chances of none."""
    return (1 - (1 - error_rate) ** read.double()) / error_rate


def pass_cost(device, positions):
    """What a pass over so many positions costs on a device, by its type, in positions."""
    return positions + PASS_IN_POSITIONS.get(device, PASS_IN_POSITIONS_ELSEWHERE)


def decode_in_parallel(model, prompt, spans, suppressed, forced=None, with_margins=False):
    """
    Drafts all tokens of all rows in one pass in which the decoder sees its mask embedding in the place of every token,
    as in training with decoder-input dropout, and so has only the latents to read; forced tokens stand in their places
    (1 to 2 % fewer passes at 38 and 50 tokens per latent). Then it reads the draft, each row's next few tokens in
    a pass: at each position comes the token that follows greedily on what stands before it. So the tokens up to the
    first that changes, and that one, are those of `decode_greedily`; those after it were read in vain and are read
    again. (Jacobi iteration of greedy decoding: Santilli et al., arXiv 2305.10427; its verification as in speculative
    decoding: Leviathan et al., arXiv 2211.17192.) How many tokens a pass reads depends on the errors found so far, on
    the number of rows, and on what a pass costs by itself. With sliding-window attention all of it has to fit into the
    window; else the rows that are left are decoded greedily.

    Arguments as in `decode_windows`. Ids and margins are those of `decode_greedily` but for rounding: where two tokens
    are all but equally likely, passes over other numbers of tokens may choose differently. With decoders that scale or
    cap their logits, margins are those before that.
    """
    lengths = [span.num_tokens for span in spans]
    error_rate = expected_error_rate(spans)
    rows = Rows(prompt, lengths, forced, with_margins)
    cache = DynamicCache(config=model.config.decoder_config)
    # Sliding windows are counted in columns of the cache, and tokens that prove wrong take columns, too.
    room = min((layer.sliding_window for layer in cache.layers if layer.is_sliding), default=math.inf)
    if rows.mask.shape[1] + rows.longest > room:
        return decode_lengths(model, prompt, lengths, suppressed, forced, with_margins)
    device = rows.mask.device.type
    _draft(model, rows, prompt, cache, suppressed, with_margins)
    errors, checked = 1, 1 / error_rate
    while not rows.take_out(cache):
        first = rows.certain.unsqueeze(1) - 1  # the last token that is known but has not been read
        width = _tokens_to_read(device, rows.lengths - rows.certain, errors / checked)
        if rows.mask.shape[1] + width > room:
            return _finish_greedily(model, rows, prompt, suppressed, with_margins)
        steps = torch.arange(width, device=first.device)
        places = first + steps
        is_read = places + 1 < rows.lengths.unsqueeze(1)
        places = places.where(is_read, first)
        chosen = _choices(model, rows.read(places), cache, width, suppressed, with_margins)
        found, margins = rows.forced_or(places + 1, *chosen)
        is_same = (found == rows.ids.gather(1, places + 1)) & is_read
        agreed = is_same.long().cumprod(1).sum(1)
        read = is_read.sum(1)
        # Of the columns that this pass added to the cache, those of tokens that proved wrong are not seen again.
        rows.mask[:, -width:] = is_read & (steps <= agreed.unsqueeze(1))
        row, step = is_read.nonzero(as_tuple=True)
        rows.ids[row, places[row, step] + 1] = found[row, step]
        if with_margins:
            rows.margins[row, places[row, step] + 1] = margins[row, step]
        rows.certain += torch.minimum(agreed + 1, read)
        has_error = agreed < read
        errors += int(has_error.sum())
        checked += int((agreed + has_error).sum())
    return rows.finished


def _draft(model, rows, prompt, cache, suppressed, with_margins):
    """Fills the rows' ids with a draft, of which the first is certain, and the cache with the prompt."""
    masked = rows.longest - 1
    mask, positions = prompt["attention_mask"], prompt["position_ids"]
    ids = rows.ids.new_full((len(rows.ids), masked), model.config.mask_token_id)
    if rows.forced is not None:
        known = rows.forced[:, :masked]
        ids = known.where(known >= 0, ids)
    hidden = model.embed_prompt(ids)
    inputs = {
        "inputs_embeds": torch.cat([prompt["inputs_embeds"], hidden], dim=1),
        "attention_mask": torch.cat([mask, mask.new_ones(hidden.shape[:2])], dim=1),
        "position_ids": torch.cat([positions, rows.positions[:, :masked]], dim=1),
    }
    places = torch.arange(rows.longest, device=rows.ids.device).expand_as(rows.ids)
    rows.write(places, *_choices(model, inputs, cache, rows.longest, suppressed, with_margins))
    cache.crop(-masked)


def _finish_greedily(model, rows, prompt, suppressed, with_margins):
    """Decodes the rows that are left anew, one token a pass."""
    left = {name: each[rows.index] for name, each in prompt.items()}
    found = decode_lengths(model, left, rows.lengths.tolist(), suppressed, rows.forced, with_margins)
    for row, window in zip(rows.index.tolist(), found, strict=True):
        rows.finished[row] = window
    return rows.finished


def _tokens_to_read(device, left, error_rate):
    """
    How many tokens of a draft to read in a pass, of each row, so that a token that becomes certain costs the least: of
    many rows, what follows an error is read in vain; with few, a pass costs mostly itself.

    Args:
        device (`str`): the type of the device.
        left (`torch.LongTensor` of shape `(rows,)`): tokens of each row that are not certain yet.
        error_rate (`float`): the share of wrong tokens in the draft.
    """
    left = left.cpu()  # once: each number that is asked of a GPU is waited for
    widths = torch.arange(1, int(left.max()) + 1)
    read = torch.minimum(left.unsqueeze(1), widths)
    certain = _certain_tokens(read, error_rate).sum(0)
    # Another pass follows, unless all rows are read to their ends and have no error.
    goes_on = torch.ones(len(widths))
    goes_on[-1] -= (1 - error_rate) ** int(left.sum())
    cost = pass_cost(device, len(left) * widths) + goes_on * pass_cost(device, 0)
    return 1 + int((cost / certain).argmin())


def _choices(model, inputs, cache, count, suppressed, with_margins):
    """What `choose` gives after the last `count` positions, `(rows, count)`: the likeliest ids, and their margins."""
    if "input_ids" in inputs:
        inputs["inputs_embeds"] = model.embed_prompt(inputs.pop("input_ids"))
    states = model.decoder.base_model(**inputs, past_key_values=cache, use_cache=True).last_hidden_state[:, -count:]
    head = model.decoder.get_output_embeddings()
    # Some decoders scale or cap their logits after this, which changes no order.
    pieces = states.reshape(-1, states.shape[-1]).split(LOGITS_AT_ONCE)
    chosen = zip(*(choose(head(each), suppressed, with_margins) for each in pieces), strict=True)
    device = inputs["inputs_embeds"].device  # the head may be on another
    ids, margins = (None if each[0] is None else torch.cat(each).view(states.shape[:2]).to(device) for each in chosen)
    return ids, margins
