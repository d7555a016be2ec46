"""
Rows of latents and prompts as batches for transformers' `generate`. Where several prompts follow one text, the decoder
reads its latents once, and a copy of their keys and values serves each batch.
"""

from copy import deepcopy

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .decoder_rows_c3 import LatentSpan
from .stored_weights_c3 import is_sharded
from .window_decoding_c3 import prompt_embeds

# With these set, transformers makes or fills the cache in a way of its own.
OWN_CACHES = ("past_key_values", "cache_implementation", "prefill_chunk_size", "custom_generate")


def batches_of_rows(model, rows, latents, batch_size):
    """
    Rows each with latents of its own.

        for places, inputs in batches_of_rows(model, rows, latents.values, batch_size=8): ...

    Args:
        model ([`C3Model`]): the model.
        rows (`list[list[TextSegment or LatentSpan]]`): latents and prompts, see `C3Processor.row`.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): of all rows, in order.
        batch_size (`int`): rows of a batch.

    Yields: `tuple[range, dict]`: which rows, and keywords of `generate`.
    """
    counts = [sum(each.num_latents for each in row if isinstance(each, LatentSpan)) for row in rows]
    latents = latents.split(counts)
    for start in range(0, len(rows), batch_size):
        places = range(start, min(start + batch_size, len(rows)))
        chosen = slice(places.start, places.stop)
        yield places, prompt_embeds(model, rows[chosen], torch.cat(latents[chosen]))


def batches_about_one_text(model, rows, latents, batch_size, copies=1):
    """
    Rows with the same latents at their beginning, which are read once.

    Args:
        model, batch_size: as for `batches_of_rows`.
        rows (`list[list[TextSegment or LatentSpan]]`): all with the same segments up to the last latents, and after
            these at least one token.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): of one row.
        copies (`int`): sequences that `generate` follows for each row: beams, or several answers.

    Yields: `tuple[list[int], dict]`: which rows, the shorter prompts first, and keywords of `generate`.
    """
    shared = SharedBeginning(model, rows[0][: _length_of_beginning(rows[0])], latents)
    for places in _alike(list(map(shared.tokens_after, rows)), batch_size, needs_equal=shared.slides):
        yield places, shared.followed_by([rows[place] for place in places], copies)


def can_share(model, rows, settings):
    """
    Whether `batches_about_one_text` gives for these rows what `batches_of_rows` gives for rows with copies of the
    latents. Not where processes share a model: all have to compute as many batches.

    Args:
        model, rows: as there.
        settings (`Callable`): from the name of a setting of `generate` to its value.
    """
    if is_sharded(model) or settings("use_cache") is False or any(settings(name) is not None for name in OWN_CACHES):
        return False
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return False  # a recurrent state, into which padding would go
    return all(_tokens_after(row, _length_of_beginning(row)) for row in rows)


class SharedBeginning:
    """
    The beginning of several rows, read once by the decoder.

        shared = SharedBeginning(model, [LatentSpan(8, 64)], latents.values)
        ids = GenerationMixin.generate(model, **shared.followed_by(rows))

    Args:
        model ([`C3Model`]): the model.
        segments (`list[TextSegment or LatentSpan]`): the beginning.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): its latents.
    """

    @torch.no_grad()
    def __init__(self, model, segments, latents):
        self.model, self.segments = model, segments
        self.inputs = prompt_embeds(model, [segments], latents)
        self.cache = model(**self.inputs, use_cache=True, logits_to_keep=1).past_key_values
        self.slides = any(self.cache.is_sliding)

    def tokens_after(self, row):
        """How many tokens of a row follow its beginning."""
        return _tokens_after(row, len(self.segments))

    def followed_by(self, rows, copies=1):
        """
        Keywords of `generate` for whole rows, whose beginning this is; padding stands between it and shorter prompts.
        As transformers wants them: embeddings, mask and positions of all, of which it leaves out what the cache holds.
        """
        lengths = torch.tensor(list(map(self.tokens_after, rows)))
        longest = int(lengths.max())
        batch = self.model.processor.decoder_inputs(rows)
        is_token = torch.arange(longest) >= longest - lengths[:, None]
        device = self.inputs["inputs_embeds"].device
        after = {
            # Where one row has padding, the batch has the end of its latents.
            "inputs_embeds": self.model.embed_prompt((batch["input_ids"][:, -longest:] * is_token).to(device)),
            "attention_mask": is_token.long(),
            "position_ids": batch["position_ids"][:, -longest:] * is_token,
        }
        inputs = {
            name: torch.cat([before.expand(len(rows), *before.shape[1:]), after[name].to(device)], dim=1)
            for name, before in self.inputs.items()
        }
        cache = deepcopy(self.cache)
        cache.batch_repeat_interleave(len(rows) * copies)
        return inputs | {"past_key_values": cache}


def _length_of_beginning(row):
    """How many segments a row has up to its last window's: the prompt, and an empty answer, are behind it."""
    return len(row) - 2


def _tokens_after(row, place):
    return sum(len(segment.ids) for segment in row[place:])


def _alike(lengths, batch_size, needs_equal):
    """
    Places in batches, `list[list[int]]`, by length. Where windows slide, those of one batch have equal lengths: padding
    in the middle of a row would count in the window.
    """
    batches = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        fits = batches and len(batches[-1]) < batch_size
        if fits and not (needs_equal and lengths[batches[-1][0]] != lengths[place]):
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


__all__ = ["batches_about_one_text", "batches_of_rows", "can_share"]
