"""Contexts: texts that were compressed, and latents that were sent, under ids that their content gives them."""

import hashlib
import io
import json
import warnings
from dataclasses import asdict

from c3.corrections_c3 import InexactTextError
from c3.latents_c3 import C3Latents, LatentFormatError
from c3.latents_file_c3 import LatentFileWarning
from c3.texts_c3 import check_text

from .context_store import ID, StoreFull
from .errors import ApiError, refusing

OBJECT = "context"


class SentFile(io.BytesIO):
    """A file of latents that was sent; messages call it by its name."""

    name = "this file"


class Contexts:
    """
    What is kept for the owners of keys. Each id is of the owner and the content, so that it tells nobody else whether
    somebody has that content, too.

        contexts = Contexts(model, LatentsChecks(model), ContextStore(folder, most_bytes, most_seconds))
        about = contexts.add_text(owner, "a long text", ratio=8)
        latents = contexts.get(owner, about["id"])

    Args:
        model ([`C3Model`]): compresses and gives back.
        checks ([`LatentsChecks`]): of what is read.
        store ([`ContextStore`]): keeps the files of latents.
        batch_size (`int`): windows at once.
    """

    def __init__(self, model, checks, store, batch_size=8):
        self.model, self.checks, self.store = model, checks, store
        self._batches = {"batch_size": batch_size, "show_progress": False}

    def add_text(self, owner, text, ratio=None, num_latents=None):
        """
        Compresses a text, exactly; the same text, in the same way, once.

        Args:
            owner (`str`): of [`Keys`].
            text (`str`): the text.
            ratio (`float`), num_latents (`int`): as for `C3Model.compress`.

        Returns: `dict`, see `describe`.

        Raises:
            ApiError: 400, a text or an option that cannot be; 413, too large for the store.
        """
        options = {"ratio": ratio, "num_latents": num_latents}
        with refusing("text"):
            check_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        made_by = asdict(self.checks.provenance) | {"model_name": ""}
        name = _name(owner, json.dumps([made_by, options, digest], sort_keys=True).encode())
        data = self.store.get(owner, name)
        try:
            latents = None if data is None else self._read(owner, name, data)
        except ApiError:  # it was damaged where it was kept, and is gone
            latents = None
        if latents is None:
            with refusing("text" if ratio is None and num_latents is None else None):
                latents = self.model.compress(text, **options, exact=True, **self._batches)
            data = latents.to_bytes()
        self._keep(owner, name, data)
        return self.describe(owner, name, latents)

    def add_file(self, owner, data):
        """
        Keeps a file of latents of one text, as `C3Latents.save` writes it.

        Args:
            owner (`str`): of [`Keys`].
            data (`bytes`): the file.

        Returns: `dict`, see `describe`.

        Raises:
            ApiError: 400 or 409, see [`LatentsChecks`]; 413, too large for the store.
        """
        with refusing(), warnings.catch_warnings():
            warnings.simplefilter("error", LatentFileWarning)
            try:
                latents = C3Latents.load(SentFile(data))
            except LatentFileWarning:
                message = "This file has no checksum: load it with C3Latents.load, save it again and send that."
                raise ApiError(400, message) from None
        self.checks.check(latents)
        self.checks.check_ratios(latents)
        # What is not of the latents, as other tensors in the file, is not kept.
        data = latents.to_bytes()
        name = _name(owner, data)
        self._keep(owner, name, data)
        return self.describe(owner, name, latents)

    def get(self, owner, name):
        """
        The [`C3Latents`] under an id; they can be read by the model.

        Raises:
            ApiError: 404, none of this owner's, or none any more; 409, another model's.
        """
        data = self.store.get(owner, name) if isinstance(name, str) and ID.fullmatch(name) else None
        if data is None:
            raise missing()
        return self._read(owner, name, data)

    def describe(self, owner, name, latents=None):
        """`dict` for JSON of what is under an id: counts, ratio, fidelity, and bytes of the decoder's cache."""
        latents = self.get(owner, name) if latents is None else latents
        return {
            "id": name,
            "object": OBJECT,
            "created": int(self.store.written(owner, name) or 0),
            "model": self.checks.provenance.model_name,
            "text_tokens": latents.text_tokens,
            "latents": latents.num_latents,
            "ratio": latents.ratio,
            "fidelity": latents.fidelity,
            "cache_bytes": latents.cache_bytes(self.model),
        }

    def text(self, owner, name):
        """
        The text, `str`, that the latents under an id, and their corrections, give back.

        Raises:
            ApiError: as `get`; 422, it did not come back as it was.
        """
        latents = self.get(owner, name)[0]
        try:
            # That they are this model's was checked.
            return self.model.expand(latents, **self._batches, allow_mismatch=True)
        except InexactTextError as error:
            raise ApiError(422, str(error), code="inexact_text") from None

    def delete(self, owner, name):
        """Forgets what is under an id. Raises `ApiError` 404 where there is nothing."""
        if not ID.fullmatch(name) or not self.store.delete(owner, name):
            raise missing()

    def _keep(self, owner, name, data):
        try:
            self.store.put(owner, name, data)
        except StoreFull as error:
            raise ApiError(413, f"This context is too large: {error}.", code="context_too_large") from None

    def _read(self, owner, name, data):
        try:
            latents = C3Latents.from_bytes(data)
        except LatentFormatError:
            self.store.delete(owner, name)
            raise missing("was damaged where it was kept, and is gone") from None
        self.checks.check(latents)
        return latents


def missing(why="is not there, or not any more"):
    """The `ApiError` for an id that stands for nothing."""
    return ApiError(404, f"This context {why}: post its text or its latents to /v1/contexts.", code="context_not_found")


def _name(owner, content):
    return f"ctx-{hashlib.sha256(owner.encode() + b'/' + content).hexdigest()[:32]}"
