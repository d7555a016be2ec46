"""Contexts of text: the encoder reads the ids of a window, and its states at queries, or means, become latents."""

import numpy as np
import torch

from .attention_masks_c3 import mask_of_packed, mask_without_padding
from .configuration_c3 import POOLINGS
from .context_c3 import ContextModality
from .decoder_rows_c3 import pad_flat
from .packing_c3 import count_within, number_rows, pack_rows
from .placeholders_c3 import Placeholders


class TextContext(ContextModality):
    """
    A window's text as ids of the encoder's tokenizer. `config.pooling` says how the encoder's states become latents: at
    learned queries behind the text (C3, arXiv 2511.15244, section 3), or as means of stretches of it (LCLM, arXiv
    2606.09659).
    """

    has_tokenizer = True

    def reads_ids(self, processor):
        return processor.context_tokenizer is None

    def from_text(self, processor, text):
        return processor.encode_context(text)

    def inputs(self, processor, contexts, num_latents, pack=False):
        """
        Ids with query placeholders, padded on the left: `context_input_ids` and `context_attention_mask`, both
        `(rows, length)`. See [`ContextModality`]; `pack`ed rows hold several windows, see `states`.
        """
        template = processor.context_template_ids()
        before, between, after = (np.full(len(contexts), len(piece)) for piece in template)
        lengths = np.stack([before, list(map(len, contexts)), between, num_latents, after], axis=1)
        windows, numbers, row_lengths = np.arange(len(contexts)), np.ones(len(contexts), int), lengths.sum(1)
        if pack:
            packed = pack_rows(row_lengths.tolist())
            if len(packed) < len(contexts):
                windows = np.concatenate(packed)
                numbers, row_lengths = windows + 1, np.array([row_lengths[row].sum() for row in packed])
        lengths = lengths[windows]
        text = np.concatenate([contexts[window] for window in windows.tolist()])
        ids = _joined(lengths, template[0], text, template[1], processor.query_token_id, template[2])
        mask = numbers.repeat(lengths.sum(1))
        return {
            "context_input_ids": pad_flat(ids, row_lengths),
            "context_attention_mask": pad_flat(mask, row_lengths),
        }

    def places(self, processor, inputs):
        if "context_places" not in self.input_names:  # of a class made from this one
            return inputs
        ids, mask = inputs["context_input_ids"], inputs["context_attention_mask"]
        return inputs | {"context_places": Placeholders.find(ids, mask, processor.query_token_id)}

    def takes_packed_windows(self, model):
        return model.config.pooling == "queries" and "flash" not in model.encoder.config._attn_implementation

    def states(
        self,
        model,
        context_input_ids,
        context_attention_mask=None,
        context_position_ids=None,
        pooling=None,
        context_places=None,
    ):
        """
        The encoder's states, `(latents, D_enc)`, in the placeholders' order.

        Args:
            context_input_ids (`torch.LongTensor` of shape `(windows, length)`): text ids and query placeholders.
            context_attention_mask (`torch.Tensor` of shape `(windows, length)`, *optional*): 0 at padding. Where it
                holds numbers above 1, rows are packed: it gives the number, 1, 2, 3…, of each position's window, no
                window sees another, and latents come in the order of the numbers (`packing_c3.py`).
            context_position_ids (`torch.Tensor` of shape `(windows, length)`, *optional*): may be fractional;
                by default what `config.latent_position_layout` says.
            pooling (`str`, *optional*): by default `config.pooling`. A decoder has not learned to read latents that
                were made in another way.
            context_places ([`Placeholders`], *optional*): of the queries, found where the windows were laid out.

        Raises:
            ValueError: a pooling that there is not or that this model has no queries for, more queries than it has, a
                window without text to take the mean of, or packed rows with mean pooling or FlashAttention.
        """
        config = model.config
        is_query = context_input_ids == config.query_token_id
        if context_attention_mask is None:
            # Without a mask transformers takes positions that do not rise by one for packed sequences.
            context_attention_mask = torch.ones_like(context_input_ids)
        pooling = config.pooling if pooling is None else pooling
        if pooling not in POOLINGS or (pooling == "queries" and model.context_queries is None):
            raise ValueError(f"This model has no pooling {pooling!r}; it was trained with {config.pooling!r}.")
        places = context_places
        if places is None:
            places = Placeholders.find(context_input_ids, context_attention_mask, config.query_token_id)
        if places.packed and not (pooling == "queries" and self.takes_packed_windows(model)):
            raise ValueError(
                "Packed windows need pooling by queries, and an encoder whose attention is not FlashAttention; give "
                "each window a row."
            )
        window_numbers = context_attention_mask.long() if places.packed else number_rows(context_attention_mask)
        if context_position_ids is None:
            context_position_ids = context_positions(is_query, window_numbers, config.latent_position_layout)
        rows = context_input_ids, is_query, window_numbers, context_position_ids
        return _states_at_queries(model, *rows, places) if pooling == "queries" else _means_of_text(model, *rows)


def _joined(lengths, before, text, between, query, after):
    """
    The ids of windows one after the other, `np.ndarray` of shape `(positions,)`.

    Args:
        lengths (`np.ndarray` of shape `(windows, 5)`): how many ids of a window are the five things that follow.
        before, between, after (`list[int]`): the same in all windows.
        text (`np.ndarray`): of all windows.
        query (`int`): the placeholder.
    """
    windows = len(lengths)
    kinds = np.tile(np.arange(5), windows).repeat(lengths.ravel())
    ids = np.empty(len(kinds), dtype=np.int64)
    pieces = np.tile(before, windows), text, np.tile(between, windows), query, np.tile(after, windows)
    for kind, piece in enumerate(pieces):
        ids[kinds == kind] = piece
    return ids


def _states_at_queries(model, ids, is_query, window_numbers, position_ids, places):
    """The encoder's states, `[latents, D_enc]`, at queries in the place of their placeholders."""
    encoder, num_queries = model.encoder, model.config.num_queries
    inputs_embeds = encoder.get_input_embeddings()(ids.masked_fill(is_query, 0))
    if num_queries == 1:
        # Looked up, not read from the weight, which ZeRO-3 and FSDP only gather when the module is called.
        queries = model.context_queries(is_query.new_zeros(1, dtype=torch.long)).to(inputs_embeds)
        inputs_embeds = torch.where(is_query.unsqueeze(-1), queries, inputs_embeds)
    else:
        if places.most > num_queries:
            raise ValueError(
                f"A window holds {places.most} queries, but this model was trained with {num_queries}; ask for "
                f"num_latents={num_queries} or fewer."
            )
        number = places.take(count_within(is_query, window_numbers)[0].unsqueeze(-1)).squeeze(-1)
        inputs_embeds = places.put(inputs_embeds, model.context_queries(number - 1).to(inputs_embeds))
    if places.packed:
        attention_mask = mask_of_packed(encoder.config, inputs_embeds, window_numbers)
    else:
        attention_mask = (window_numbers > 0).long()
        if not places.padded:
            attention_mask = mask_without_padding(encoder.config, inputs_embeds, attention_mask)
    # The last layer may be on another device than the first.
    return places.take(_last_states(encoder, inputs_embeds, attention_mask, position_ids))


def _means_of_text(model, ids, is_query, window_numbers, position_ids):
    """The means, `[latents, D_enc]`, of the encoder's states over stretches of the text, which it reads alone."""
    counts = is_query.sum(-1)
    # Where windows have equally many latents, which is what is trained, no placeholder is left to be encoded.
    columns = ~is_query.all(0)
    ids, is_query, window_numbers, position_ids = (
        each[:, columns] for each in (ids, is_query, window_numbers, position_ids)
    )
    is_text = (window_numbers > 0) & ~is_query
    inputs_embeds = model.encoder.get_input_embeddings()(ids.masked_fill(is_query, 0))
    states = _last_states(model.encoder, inputs_embeds, is_text.long(), position_ids)
    return mean_pool(states, is_text.to(states.device), counts.to(states.device))


def _last_states(encoder, inputs_embeds, attention_mask, position_ids):
    return encoder(
        inputs_embeds=inputs_embeds, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
    ).last_hidden_state


def mean_pool(hidden_states, is_text, counts):
    """
    Mean pooling, as in Latent Context Language Models (LCLM, arXiv 2606.09659): latent i of N is the mean of the states
    of the i-th of N consecutive stretches of a window's text, whose lengths differ by at most one token. Where there
    are fewer tokens than latents, neighbouring latents share a token.

    Args:
        hidden_states (`torch.Tensor` of shape `(windows, length, D_enc)`): the encoder's final states.
        is_text (`torch.BoolTensor` of shape `(windows, length)`): False at padding and placeholders.
        counts (`torch.LongTensor` of shape `(windows,)`): N of each window.

    Returns:
        `torch.Tensor` of shape `(latents, D_enc)`: of all windows, one after the other.

    Raises:
        ValueError: a window that is to have latents holds no text.
    """
    lengths = is_text.sum(-1)
    if bool(((lengths == 0) & (counts > 0)).any()):
        raise ValueError("A window holds no text to take the mean of; give every window text, or no latents.")
    index = torch.arange(int(counts.max()), device=counts.device)
    per_window = counts.clamp(min=1).unsqueeze(-1)
    # Whole numbers: stretch i ends where the next one starts, whatever the device.
    first = index * lengths.unsqueeze(-1) // per_window
    last = torch.maximum(first + 1, (index + 1) * lengths.unsqueeze(-1) // per_window)
    place = (is_text.cumsum(-1) - 1).unsqueeze(1)
    is_inside = (place >= first.unsqueeze(-1)) & (place < last.unsqueeze(-1)) & is_text.unsqueeze(1)
    # What stands at padding is anything, perhaps no number.
    hidden_states = hidden_states.masked_fill(~is_text.unsqueeze(-1), 0)
    sums = is_inside.to(hidden_states.dtype) @ hidden_states
    means = sums / (last - first).unsqueeze(-1).to(sums.dtype)
    return means[index < counts.unsqueeze(-1)].to(hidden_states.dtype)


def context_positions(is_query, window_numbers, layout):
    """
    Position ids of the encoder's input; those of every window start at 0.

    Args:
        is_query (`torch.BoolTensor` of shape `(rows, length)`): True at query placeholders.
        window_numbers (`torch.LongTensor` of shape `(rows, length)`): number of each position's window; 0 at padding.
        layout (`str`): `"appended"` or `"uniform"`, see [`C3Config`].

    Returns:
        `torch.LongTensor` (appended) or `torch.FloatTensor` (uniform) of shape `(rows, length)`.
    """
    is_kept = window_numbers > 0
    if layout == "appended":
        return (count_within(is_kept, window_numbers)[0] - 1).clamp(min=0)
    place_of_text, text_length = count_within(is_kept & ~is_query, window_numbers)
    place_of_query, num_latents = count_within(is_query, window_numbers)
    query_positions = (place_of_query - 0.5) * text_length / num_latents.clamp(min=1) - 0.5
    return torch.where(is_query, query_positions, (place_of_text - 1).clamp(min=0).float())


__all__ = ["TextContext", "context_positions", "mean_pool"]
