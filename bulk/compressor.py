"""Compresses the rows of a shard."""

import re

from c3.support.loading import load_model


class ShardCompressor:
    """
    A model and how it is to compress; made once by each process that works.

    Args:
        model (`dict`): `name`, `device` and `dtype`, see `load_model`.
        options (`dict`): keywords of `C3Model.compress`.
        folder ([`ShardFolder`]): where to.
        texts (`datasets.Dataset`): the rows, in the column `text`; not needed for `compress`.
    """

    def __init__(self, model, options, folder, texts=None):
        self.model, self.options, self.folder, self.texts = load_model(**model), options, folder, texts

    def __call__(self, shard):
        """Compresses the rows of a [`Shard`] of `texts`, and returns its entry."""
        return self.compress(shard, self.texts[shard.start : shard.start + shard.rows]["text"])

    def compress(self, shard, texts):
        """The same for rows that are given, `list[str or None]`."""
        latents, left_out = self.model.compress(texts, **self.options, on_error="skip", show_progress=False)
        # They speak of places among these texts.
        skipped = {
            shard.start + place: re.sub(rf"^text {place}\b", "it", reason) for place, reason in sorted(left_out.items())
        }
        rows = [row for row in range(shard.start, shard.start + shard.rows) if row not in skipped]
        return self.folder.finish(shard, texts, None if latents is None else latents.to("cpu"), rows, skipped)
