"""Compresses the rows of a shard."""

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
        usable = [place for place, text in enumerate(texts) if isinstance(text, str)]
        skipped = {place: "no text" for place in set(range(len(texts))) - set(usable)}
        latents = None
        if usable:
            chosen = [texts[place] for place in usable]
            latents, left_out = self.model.compress(chosen, **self.options, on_error="skip", show_progress=False)
            skipped |= {usable[place]: reason for place, reason in left_out.items()}
        rows = [shard.start + place for place in usable if place not in skipped]
        skipped = {shard.start + place: skipped[place] for place in sorted(skipped)}
        return self.folder.finish(shard, None if latents is None else latents.to("cpu"), rows, skipped)
