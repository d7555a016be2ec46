"""
Rows that the decoder continues together, in transformers' `generate`, with one cache. Rows leave it when they are
done, and others join it: `generate` goes on from the cache with more rows than it stopped with.
"""

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.cache_utils import DynamicLayer

from c3.stored_weights_c3 import execution_device

from .keys import ANYBODY
from .token_choice import TokenChoice, make_generator


class BatchRow:
    """
    A row, and whom to tell what follows it.

    Args:
        embeds (`torch.Tensor` of shape `(length, D_dec)`): at positions 0, 1, 2, …
        sampling ([`Sampling`]): how to choose the tokens.
        tell (`Callable`): is called with each token, from the thread that computes.
        owner (`str`): of [`Keys`], whose it is.

    Attributes:
        tokens (`list[int]`): what follows.
        is_cancelled (`bool`): may be set by anybody, and ends the row.
        is_done (`bool`): whether no more follows.
    """

    def __init__(self, embeds, sampling, tell, owner=ANYBODY):
        self.embeds, self.sampling, self.tell, self.owner = embeds, sampling, tell, owner
        self.tokens, self.is_cancelled, self.is_done = [], False, False
        self.generator = make_generator(sampling, embeds.device) if sampling.temperature else None

    @property
    def length(self):
        """Positions up to now."""
        return len(self.embeds) + len(self.tokens)

    @property
    def most_positions(self):
        """Positions in the end, at most."""
        return len(self.embeds) + self.sampling.max_tokens

    def take(self, token, ends):
        """Takes the next token, or one of the ids that end a text."""
        if token not in ends:
            self.tokens.append(token)
            self.tell(token)
        self.is_done = token in ends or len(self.tokens) == self.sampling.max_tokens


class Batch:
    """
    Rows and their cache.

        batch = Batch(model, rows, ends)
        batch.run(lambda: True)  # one token for each
        batch.join(other)  # which has run, too
        batch.run(lambda: somebody_waits())
        batch.drop_done()

    Args:
        model ([`C3Model`]): the model.
        rows (`list[BatchRow]`): at least one.
        ends (`set[int]`): the ids that end a text.
    """

    def __init__(self, model, rows, ends):
        self.model, self.rows, self.ends = model, rows, ends
        self.cache = DynamicCache(config=model.config.get_text_config(decoder=True))

    @torch.no_grad()
    def run(self, is_over):
        """Continues the rows until all are done, or `is_over()`, which is asked after each token."""
        left = [row.sampling.max_tokens - len(row.tokens) for row in self.rows]
        self.model.generate(
            **self._inputs(),
            past_key_values=self.cache,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max(left),
            logits_processor=LogitsProcessorList([TokenChoice(self.rows)]),
            stopping_criteria=StoppingCriteriaList([TellTokens(self.rows, self.ends, is_over)]),
        )

    def drop_done(self):
        """Leaves out the rows that are done, and what was padding for them."""
        places = [place for place, row in enumerate(self.rows) if not row.is_done]
        self.rows = [self.rows[place] for place in places]
        if not self.rows:
            return
        # All but the last token of a row is in the cache, on its right.
        needed = max(row.length for row in self.rows) - 1
        for layer in self.cache.layers:
            if isinstance(layer, DynamicLayer) and not layer.is_sliding:
                layer.keys = layer.keys[places, :, -needed:]
                layer.values = layer.values[places, :, -needed:]
            else:
                layer.batch_select_indices(torch.tensor(places, device=self.rows[0].embeds.device))

    def join(self, other):
        """Takes the rows of another batch, with their cache; where `can_join`."""
        longest = max(each.cache.get_seq_length() for each in (self, other))
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            ours.keys = torch.cat([_padded(each.keys, longest) for each in (ours, theirs)])
            ours.values = torch.cat([_padded(each.values, longest) for each in (ours, theirs)])
        self.rows = self.rows + other.rows

    def _inputs(self):
        """As `generate` wants them: of all positions, of which it leaves out what the cache holds."""
        rows, held = self.rows, self.cache.get_seq_length()
        longest = held + 1 if held else max(row.length for row in rows)
        lengths = torch.tensor([row.length for row in rows])
        places = torch.arange(longest) - (longest - lengths[:, None])
        device, first = execution_device(self.model.get_input_embeddings()), rows[0].embeds
        embeds = torch.zeros(len(rows), longest, first.shape[1], dtype=first.dtype, device=device)
        if held:
            last = torch.tensor([[row.tokens[-1]] for row in rows], device=device)
            embeds[:, -1:] = self.model.embed_prompt(last)
        else:
            for place, row in enumerate(rows):
                embeds[place, -row.length :] = row.embeds
        return {
            "inputs_embeds": embeds,
            "attention_mask": (places >= 0).long().to(device),
            "position_ids": places.clamp(min=0).to(device),
        }


class TellTokens(StoppingCriteria):
    """Hands each row its token, and ends `generate` when all are done or `is_over()`; see [`Batch`]."""

    def __init__(self, rows, ends, is_over):
        self.rows, self.ends, self.is_over = rows, ends, is_over

    def __call__(self, input_ids, scores, **kwargs):
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if row.is_cancelled:
                row.is_done = True
            elif not row.is_done:
                row.take(token, self.ends)
        if self.is_over():
            return torch.ones(len(self.rows), dtype=torch.bool, device=input_ids.device)
        return torch.tensor([row.is_done for row in self.rows], device=input_ids.device)


def can_join(model):
    """
    Whether rows can join others that were begun before: not where windows slide or states are recurrent, into which
    padding would go, nor where `generate` stops a step late (on MPS).
    """
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    is_late = execution_device(model.get_input_embeddings()).type == "mps"
    return not is_late and all(type(layer) is DynamicLayer for layer in layers)


def _padded(states, length):
    """Keys or values `(rows, heads, positions, width)` with zeros before them, up to so many positions."""
    return pad(states, (0, 0, length - states.shape[2], 0))
