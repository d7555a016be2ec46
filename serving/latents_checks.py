"""Latents of a file from elsewhere: whether the model that is served can have made them."""

import math

import torch

from c3.expansion_c3 import unpacked_corrections
from c3.latents_c3 import LatentMismatchError
from c3.latents_provenance_c3 import FINGERPRINT_FIELDS
from c3.support.loading import PACKAGE

from .errors import ApiError

SAMPLE = PACKAGE / "examples" / "jefferson_1805.txt"
SAMPLE_CHARACTERS = 4000
# Between the norms of a sample's latents and those of others. The default checkpoint's lie between 104 and 147 for all
# that was tried, from one letter to random characters, and at ratios from 4 to 56; of the sample between 116 and 147.
MARGIN = 4.0


class LatentsChecks:
    """
    What is checked before a decoder reads latents. The model's fingerprints, which take a pass over all its weights,
    and the norms of its latents are found once.

        LatentsChecks(model).check(C3Latents.from_bytes(data))

    Args:
        model ([`C3Model`]): that is to read them.
    """

    def __init__(self, model):
        self.model, self.provenance = model, model.latent_provenance()
        sample = SAMPLE.read_text(encoding="utf-8")[:SAMPLE_CHARACTERS]
        norms = _norms(model.compress(sample, show_progress=False).values)
        self.least_norm, self.most_norm = float(norms.min()) / MARGIN, float(norms.max()) * MARGIN

    def check(self, latents):
        """
        Raises `ApiError` 400 for latents that are not of one text, do not say which model made them, have another
        width, windows that this model does not make, or norms that its latents do not have; 409 for another model's.
        That they are finite, and of a dtype that latents have, [`C3Latents`] itself sees to.
        """
        if len(latents) != 1:
            raise ApiError(400, f"A context must be one text, but these latents hold {len(latents)}: send each alone.")
        if not all(getattr(latents.provenance, name) for name in FINGERPRINT_FIELDS):
            raise ApiError(400, "These latents do not say which model made them: compress the text again.")
        try:
            latents.provenance.check_same_model(self.provenance)
            self.model.check_latents(latents, allow_mismatch=True)
            unpacked_corrections(latents, self.model.config.decoder_config.vocab_size)
        except LatentMismatchError:
            message = "These latents were made by another model than the one that is served: compress the text again."
            raise ApiError(409, message, code="other_model") from None
        except ValueError as error:
            raise ApiError(400, str(error)) from None
        norms = _norms(latents.values)
        if norms.min() < self.least_norm or norms.max() > self.most_norm:
            allowed = f"{self.least_norm:.4g} to {self.most_norm:.4g}"
            found = f"{float(norms.min()):.4g} to {float(norms.max()):.4g}"
            raise ApiError(400, f"These latents have norms from {found}, but this model's lie within {allowed}.")

    def check_ratios(self, latents):
        """
        Raises `ApiError` 400 for windows above the highest ratio of `config.ratio_range`: the decoder knows little of
        them, and to give their text back takes long. Rounded down, a window's latents may be nearly one fewer.
        """
        _, highest = self.model.config.ratio_range or (0, math.inf)
        windows = zip(latents.text_lengths.tolist(), latents.latent_lengths.tolist(), strict=True)
        for number, (tokens, count) in enumerate(windows):
            if tokens >= highest * (count + 1):
                found = f"window {number} of these latents has {tokens} tokens, and {count} latents"
                raise ApiError(400, f"This model takes at most {highest:g} tokens per latent, but {found}.")


def _norms(values):
    return torch.linalg.vector_norm(values.float(), dim=-1)
