"""
Rows whose text is hidden from later chunks, read without a mask: the decoder's cache holds what may be seen and nothing
else, since the keys of a chunk's text leave it once its latents are read.
"""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .stored_weights_c3 import execution_device


class VisibleCache:
    """
    Keys and values of what the next positions of some rows see.

        cache = VisibleCache(model, num_rows=1)
        cache.read(embeds, mask, positions, leaves=is_text_of_a_chunk)
        cache.drop()

    Args:
        model ([`C3Model`]): its decoder reads.
        num_rows (`int`): rows of the batch.

    Attributes:
        logits (`torch.Tensor` of shape `(rows, vocab)`): what follows the last that each row read.
        most_bytes (`int`): of keys and values, at their most.
    """

    def __init__(self, model, num_rows):
        device = execution_device(model.get_input_embeddings())
        self.model, self.cache = model, DynamicCache(config=model.config.decoder_config)
        self.mask = torch.zeros(num_rows, 0, dtype=torch.bool, device=device)
        self.leaves = self.mask
        self.logits, self.most_bytes = None, 0

    @property
    def places(self):
        """The position, `(rows, 1)`, of what follows all that stays."""
        return (self.mask & ~self.leaves).sum(-1, keepdim=True)

    @property
    def num_bytes(self):
        """Of keys and values, with those at padding."""
        return sum(each.nbytes for layer in self.cache.layers for each in (layer.keys, layer.values))

    def read(self, inputs_embeds, is_there, position_ids, leaves, logits_to_keep=1):
        """
        Reads the next positions of each row.

        Args:
            inputs_embeds (`torch.Tensor` of shape `(rows, length, D_dec)`): what is read.
            is_there (`torch.BoolTensor` of shape `(rows, length)`): False at padding; rows end together.
            position_ids (`torch.Tensor` of shape `(rows, length)`): of each.
            leaves (`torch.BoolTensor` of shape `(rows, length)`): what goes with the next `drop`.
            logits_to_keep (`int`): see `C3Model.forward`.

        Returns: `torch.Tensor` of shape `(rows, kept, vocab)`, the logits.
        """
        self.mask = torch.cat([self.mask, is_there], dim=1)
        self.leaves = torch.cat([self.leaves, leaves], dim=1)
        output = self.model(
            inputs_embeds=inputs_embeds,
            attention_mask=self.mask.long(),
            position_ids=position_ids,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        )
        last = output.logits[:, -1].to(self.mask.device)
        # A row that has nothing more to read keeps what it had.
        self.logits = last if self.logits is None else torch.where(is_there[:, -1:], last, self.logits)
        self.most_bytes = max(self.most_bytes, self.num_bytes)
        return output.logits

    def drop(self, rows=None):
        """
        Takes out what `leaves`, of all rows or of some (`torch.BoolTensor` of shape `(rows,)`), and with it padding
        that all rows have room for.
        """
        stays = self.mask & ~(self.leaves if rows is None else self.leaves & rows[:, None])
        most = int(stays.sum(-1).max())
        # Stable, so that what stays keeps its order, behind the rest.
        order = stays.long().argsort(dim=-1, stable=True)[:, stays.shape[1] - most :]
        for layer in self.cache.layers:
            index = order.to(layer.keys.device)[:, None, :, None]
            for name in ("keys", "values"):
                each = getattr(layer, name)
                setattr(layer, name, each.gather(2, index.expand(-1, each.shape[1], -1, each.shape[3])))
        self.mask, self.leaves = stays.gather(1, order), (self.leaves & stays).gather(1, order)

    def repeat(self, copies):
        """Has each row so many times."""
        self.cache.batch_repeat_interleave(copies)
        for name in ("mask", "leaves", "logits"):
            setattr(self, name, getattr(self, name).repeat_interleave(copies, dim=0))


def can_drop(model):
    """Whether keys may leave the cache of a model's decoder: not where a window slides over them, or a state recurs."""
    layers = DynamicCache(config=model.config.decoder_config.get_text_config(decoder=True)).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def read_chunks(model, rows, latents):
    """
    The [`VisibleCache`] of whole rows, read chunk by chunk: as `C3Model.forward` with `chunk_ids`, which hides by a
    mask what here is gone. Where latents do not see the text of their chunk, that is not read at all.

        cache = read_chunks(model, [row], latents.values)

    Args:
        model ([`C3Model`]): the model.
        rows (`list[list[TextSegment or LatentSpan]]`): see `decoder_rows_c3.py`.
        latents (`torch.Tensor` of shape `(latents, D_dec)`): of all rows, in order.
    """
    cache = VisibleCache(model, len(rows))
    batch = {name: each.to(cache.mask.device) for name, each in model.processor.decoder_inputs(rows).items()}
    embeds = model.embed_prompt(batch["input_ids"], latents)
    chunk_ids = batch.get("chunk_ids", torch.zeros_like(batch["input_ids"]))
    leaves = text_with_latents(chunk_ids)
    for columns, is_there in portions(chunk_ids, batch["attention_mask"].bool(), model.config.latents_see_chunk):
        read = embeds.gather(1, columns.unsqueeze(-1).expand(-1, -1, embeds.shape[-1]))
        cache.read(read, is_there, batch["position_ids"].gather(1, columns), leaves.gather(1, columns) & is_there)
        cache.drop()
    return cache


def portions(chunk_ids, is_there, latents_see_chunk):
    """
    Cuts rows after the latents of each chunk.

    Args:
        chunk_ids (`torch.LongTensor` of shape `(rows, length)`), is_there (`torch.BoolTensor`): see `decoder_rows`.
        latents_see_chunk (`bool`): whether the text before its latents is read, too.

    Yields: `tuple[torch.LongTensor, torch.BoolTensor]`: which columns a portion has in each row, padded on the left.
    """
    following = torch.nn.functional.pad(chunk_ids[:, 1:], (0, 1))
    ends = ((chunk_ids < 0) & (chunk_ids != following)).long()
    numbers = ends.cumsum(-1) - ends
    wanted = is_there if latents_see_chunk else is_there & ~text_with_latents(chunk_ids)
    if not latents_see_chunk:
        numbers = torch.zeros_like(numbers)  # all that is left is seen by all that follows
    for number in range(int(numbers.max()) + 1):
        chosen = wanted & (numbers == number)
        most = int(chosen.sum(-1).max())
        columns = chosen.long().argsort(dim=-1, stable=True)[:, chosen.shape[1] - most :]
        if most:
            yield columns, chosen.gather(1, columns)


def text_with_latents(chunk_ids):
    """Which positions are text of a chunk whose latents are in the row, `(rows, length)`, as `chunk_ids` are."""
    return torch.stack([(row > 0) & torch.isin(-row, row[row < 0]) for row in chunk_ids])


__all__ = ["VisibleCache", "can_drop", "portions", "read_chunks", "text_with_latents"]
