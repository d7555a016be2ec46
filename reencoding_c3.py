"""What came back, encoded once more: the latents of the right text are those that were given, of a wrong one not."""

from dataclasses import replace

import torch

# A window comes back where each of its latents is at most so far from the given one. Measured with the default
# checkpoint at 4 to 40 Qwen tokens per latent: right windows reach 0.0005 in float32, 0.003 in float16 and 0.011 in
# bfloat16, whatever the ratio. Texts with one wrong token, the decoder's second choice, begin at 0.044; of those that a
# search picks for being near, the nearest wrong one was at 0.0163.
MOST_DISTANCE, IN_BFLOAT16 = 0.008, 0.0135


def most_distance(*dtypes):
    """
    How far a window may be that comes back (`float`): `most_distance(model.dtype, latents.provenance.dtype)`.

    Args:
        *dtypes (`torch.dtype` or `str`, *optional*): in which the latents were made, and in which they are made again.
    """
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    return IN_BFLOAT16 if "bfloat16" in names else MOST_DISTANCE


@torch.no_grad()
def latent_distances(model, windows, spans, latents, batch_size, follow=None):
    """
    How far the latents of texts are from given ones.

        distances = latent_distances(model, [ids], latents.spans[0], latents.windows(), batch_size=8)

    Args:
        model ([`C3Model`]): the model.
        windows (`list[list[int]]`): the tokens of each text.
        spans (`list[LatentSpan]`): the windows that the texts are to be.
        latents (`list[torch.Tensor]` of shape `(N, D_dec)`): given for each.
        batch_size (`int`): windows that go through the encoder at once.
        follow (`list[bool]`, *optional*): which of them come after another window of their text; by default none.

    Returns:
        `list[float]`: of each the largest relative distance of a latent, `|own - given| / |given|`, after rounding to
        the dtype of the given ones.
    """
    contexts = list(map(model.processor.context_of, windows, follow or [False] * len(windows)))
    counts = [span.num_latents for span in spans]
    own = model.encode_windows(contexts, counts, batch_size).split(counts)
    return [_distance(each, given) for each, given in zip(own, latents, strict=True)]


def measured(model, windows, spans, latents, batch_size, most, follow):
    """
    The same [`ExpandedWindow`]s with their distances, see `latent_distances`, and whether they come back: are at most
    `most` away.
    """
    distances = latent_distances(model, [each.ids for each in windows], spans, latents, batch_size, follow)
    found = zip(windows, distances, strict=True)
    return [replace(each, distance=far, comes_back=far <= most) for each, far in found]


def _distance(own, given):
    own, given = own.to(given.device, given.dtype).float(), given.float()
    return float(((own - given).norm(dim=-1) / given.norm(dim=-1)).max())


__all__ = ["MOST_DISTANCE", "latent_distances", "measured", "most_distance"]
