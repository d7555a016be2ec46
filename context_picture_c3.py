"""How the windows of a text are drawn: the config's `context_picture`, and the size of a picture of so many latents."""

import math
from dataclasses import asdict, dataclass, fields

from .options_c3 import whole_number
from .quoting_c3 import listed

VISION_TOWERS = ("siglip_vision_model", "siglip2_vision_model")
MERGED = 2  # neighbouring patches that become one latent, across and down


@dataclass(frozen=True)
class ContextPicture:
    """
    How the windows of a text are drawn.

        ContextPicture().size(256)  # (512, 512)

    Args:
        font (`str`, *optional*): a file with TrueType or OpenType outlines, by default the font that Pillow brings. A
            model reads pictures in the font that it was trained with: the file must be there wherever it is used.
        font_size (`int`): pixels of an em.
        cell (`list[int]`): pixels of a character, width and height, at most: where more of a text has to go into a
            picture, cell and font get smaller.
        latent_pixels (`int`): pixels of the square that becomes a latent: two patches. The vision tower says it.
        latents_across (`int`): latents side by side in a picture at most, by default those of the tower's own pictures.
    """

    font: str | None = None
    font_size: int = 9
    cell: tuple[int, int] = (6, 10)
    latent_pixels: int = 32
    latents_across: int = 16

    @classmethod
    def of(cls, fields):
        """That of a config's `context_picture` (`dict`)."""
        return cls(**fields | {"cell": tuple(fields["cell"])})

    @property
    def patch_pixels(self):
        """Pixels of a patch's side."""
        return self.latent_pixels // MERGED

    def latent_rows(self, num_latents):
        """Rows of latents, `(whole ones, latents in each of them, latents in a last one below)`."""
        across = min(num_latents, self.latents_across)
        return num_latents // across, across, num_latents % across

    def size(self, num_latents):
        """Height and width in pixels of a picture that gives so many latents, row by row; a last row may be shorter."""
        whole, across, last = self.latent_rows(num_latents)
        return (whole + (last > 0)) * self.latent_pixels, across * self.latent_pixels


def tower_config(config):
    """The config of a vision tower, of its own or within that of a whole SigLIP, without a head that nothing reads."""
    config = getattr(config, "vision_config", config)
    config.vision_use_head = False
    return config


def checked_picture(given, tower):
    """
    A config's `context_picture` (`dict`) with all of its fields.

    Args:
        given (`dict`, *optional*): some of the fields of [`ContextPicture`], as they stand in a config.
        tower (`PreTrainedConfig`): the vision tower's config.

    Raises:
        ValueError: a tower of another kind, or a field that is not allowed.
    """
    if getattr(tower, "model_type", None) not in VISION_TOWERS:
        raise ValueError(
            f"context_modality image needs an encoder_config of {' or '.join(VISION_TOWERS)}, not "
            f"{getattr(tower, 'model_type', None)}."
        )
    names = [each.name for each in fields(ContextPicture)]
    if not isinstance(given, (dict, type(None))) or (given and not set(given) <= set(names)):
        raise ValueError(f"context_picture must be a mapping of some of {listed(names)}, not {given!r}.")
    patch = tower.patch_size
    patches_across = math.isqrt(tower.num_patches) if hasattr(tower, "num_patches") else tower.image_size // patch
    latents_across = max(patches_across // MERGED, 1)
    picture = asdict(ContextPicture(latent_pixels=MERGED * patch, latents_across=latents_across)) | (given or {})
    if picture["font"] is not None and not isinstance(picture["font"], str):
        raise ValueError(f"context_picture: font must be a file's name, not {picture['font']!r}.")
    if not isinstance(picture["cell"], (list, tuple)) or len(picture["cell"]) != 2:
        raise ValueError(f"context_picture: cell must be a width and a height in pixels, not {picture['cell']!r}.")
    for name in ("font_size", "latent_pixels", "latents_across"):
        picture[name] = whole_number(f"context_picture: {name}", picture[name])
    picture["cell"] = [whole_number("context_picture: cell", each) for each in picture["cell"]]
    if picture["latent_pixels"] != MERGED * patch:
        raise ValueError(
            f"context_picture: latent_pixels must be {MERGED * patch}, {MERGED} patches of this vision tower, not "
            f"{picture['latent_pixels']}: leave it out."
        )
    return picture


__all__ = ["MERGED", "VISION_TOWERS", "ContextPicture", "checked_picture", "tower_config"]
