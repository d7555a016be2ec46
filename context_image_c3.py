"""Contexts of pictures: a window's text is drawn, and a vision tower's states of its patches become latents."""

from functools import lru_cache

import numpy as np
import torch

from .context_c3 import ContextModality
from .context_picture_c3 import MERGED, ContextPicture
from .stored_weights_c3 import is_sharded
from .text_rendering_c3 import WHITE, TextRenderer
from .windows_c3 import share_latents


class ImageContext(ContextModality):
    """
    A window's text as a grey picture (VIST2, arXiv 2601.10378), of the size that gives the N latents it is to have: a
    latent is the states of two by two neighbouring patches, side by side, row by row; `config.pooling` is `"patches"`.
    The more text has to go into a picture, the smaller it is written (`text_rendering_c3.py`).
    """

    def from_text(self, processor, text):
        """The text itself: what is drawn depends on N, and takes more memory."""
        return text

    def inputs(self, processor, contexts, num_latents, pack=False):
        """
        Pictures, white where one is smaller than the largest of the batch: `context_pixel_values`, `uint8` of shape
        `(windows, height, width)`, and `context_num_latents`, `(windows,)`. See [`ContextModality`].
        """
        renderer = _text_renderer(ContextPicture.of(processor.context_picture))
        pictures = [renderer.draw(text, n) for text, n in zip(contexts, num_latents, strict=True)]
        height, width = (max(each.shape[side] for each in pictures) for side in (0, 1))
        pixels = np.full((len(pictures), height, width), WHITE, dtype=np.uint8)
        for row, each in zip(pixels, pictures, strict=True):
            row[: each.shape[0], : each.shape[1]] = each
        return {"context_pixel_values": torch.from_numpy(pixels), "context_num_latents": torch.tensor(num_latents)}

    def states(self, model, context_pixel_values, context_num_latents):
        """
        The tower's states, `(latents, 4 * D_enc)`, of two by two patches each.

        Args:
            context_pixel_values (`torch.ByteTensor` of shape `(windows, height, width)`): see `inputs`.
            context_num_latents (`torch.LongTensor` of shape `(windows,)`): N of each window, which says its size.

        Raises:
            ValueError: pictures that are not of the size that the numbers of latents say; pictures of several sizes, a
                pass for each, where processes share the weights, which must run the model equally often.
        """
        picture, counts = ContextPicture.of(model.config.context_picture), context_num_latents.tolist()
        sizes = [picture.size(n) for n in counts]
        needed = (len(counts), *(max(each[side] for each in sizes) for side in (0, 1)))
        if tuple(context_pixel_values.shape) != needed:
            raise ValueError(
                f"context_pixel_values must be pictures of shape {needed} for context_num_latents, not "
                f"{tuple(context_pixel_values.shape)}."
            )
        if len(set(counts)) > 1 and is_sharded(model):
            raise ValueError(
                "Pictures of several sizes in a batch take several passes, which processes that share a model cannot "
                "do: train with DeepSpeed's ZeRO-2 or without FSDP, or with documents that fill their windows."
            )
        states = [None] * len(counts)
        # Pictures of one size at once: a window's latents do not depend on what else is in the batch.
        for n in sorted(set(counts)):
            places = [place for place, each in enumerate(counts) if each == n]
            height, width = picture.size(n)
            found = _merged_states(model.encoder, context_pixel_values[places, :height, :width], picture.patch_pixels)
            for place, each in zip(places, found, strict=True):
                states[place] = each[:n]
        return torch.cat(states)

    def check_ready(self, config):
        _text_renderer(ContextPicture.of(config.context_picture))

    def check_plan(self, processor, plan):
        latents, tokens = sum(plan.num_latents), sum(plan.windows.lengths)
        counts = _shown_counts(processor, plan)
        if counts != plan.num_latents:
            ratio = f"ask for a ratio of {int(100 * tokens / sum(counts)) / 100} or less, or " if counts else ""
            raise ValueError(
                f"Pictures of {latents} latents for this text's {tokens} tokens do not show all of its characters "
                f"apart: {ratio}take a model with larger patches, or with a font that has these characters."
            )

    def readable_counts(self, processor, plan):
        """Where not even a latent for each token shows all characters apart, as planned: they are drawn smaller."""
        return _shown_counts(processor, plan) or plan.num_latents


def _shown_counts(processor, plan):
    """N of each window, `list[int]`, as planned or more, with which pictures show all characters apart; else None."""
    renderer, lengths = _text_renderer(ContextPicture.of(processor.context_picture)), plan.windows.lengths
    counts, texts, more = plan.num_latents, list(plan.windows.contexts), sum(plan.num_latents)
    while not all(map(renderer.fits, texts, counts)):
        more = int(1.1 * more) + 1
        if more > sum(lengths):
            return None
        counts = share_latents(lengths, more)
    return counts


@lru_cache(maxsize=8)
def _text_renderer(picture):
    return TextRenderer(picture)


def _merged_states(tower, pixels, patch):
    """
    The last states, `(pictures, N, 4 * D_enc)`, of a vision tower, of two by two patches each, row by row.

    Args:
        tower (`SiglipVisionModel` or `Siglip2VisionModel`): the encoder.
        pixels (`torch.ByteTensor` of shape `(pictures, height, width)`): of one size.
        patch (`int`): pixels of a patch's side.
    """
    rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
    # As its image processors do: black is -1, white 1. A tower of grey pictures has none; there white, which nearly all
    # of a page is, is 0, and black -2: a new one would hardly learn to read beside so large a constant.
    white = 0 if tower.config.num_channels == 1 else 1
    pixels = (pixels.to(tower.dtype) / 127.5 + (white - 2)).unsqueeze(1).expand(-1, tower.config.num_channels, -1, -1)
    if tower.config.model_type == "siglip2_vision_model":
        # It reads patches, with the channels last.
        patches = pixels.reshape(len(pixels), -1, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
        inputs = {
            "pixel_values": patches.reshape(len(pixels), rows * columns, -1),
            "pixel_attention_mask": torch.ones(len(pixels), rows * columns, dtype=torch.long, device=pixels.device),
            "spatial_shapes": torch.tensor([[rows, columns]] * len(pixels), device=pixels.device),
        }
    else:
        inputs = {"pixel_values": pixels, "interpolate_pos_encoding": True}
    states = tower(**inputs).last_hidden_state
    squares = states.reshape(len(states), rows // MERGED, MERGED, columns // MERGED, MERGED, -1).transpose(2, 3)
    return squares.reshape(len(states), -1, MERGED**2 * states.shape[-1])


__all__ = ["ImageContext"]
