"""API keys: who may ask, and whose contexts are whose."""

import hashlib
import re
import secrets

from .errors import ApiError

VARIABLE = "C3_API_KEY"
# Whose contexts are kept where no keys are asked for.
ANYBODY = "anybody"
OWNER = re.compile(rf"[0-9a-f]{{32}}|{ANYBODY}")


class Keys:
    """
    The keys that are valid; without any everybody may ask.

        owner = Keys("first-key,second-key").owner("Bearer first-key")

    Args:
        given (`str`): keys, separated by commas, as in the environment variable `C3_API_KEY`.
    """

    def __init__(self, given=""):
        self._digests = [_digest(key.strip()) for key in given.split(",") if key.strip()]

    def __bool__(self):
        return bool(self._digests)

    def owner(self, authorization):
        """
        Under what the contexts of a key are kept, `str`; the key cannot be read from it.

        Args:
            authorization (`str` or None): the header of a request.

        Raises:
            ApiError: 401, no key or one that is not valid.
        """
        if not self._digests:
            return ANYBODY
        kind, _, key = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise ApiError(401, "Give an API key in the header Authorization: Bearer KEY.", code="missing_api_key")
        digest = _digest(key.strip())
        # Digests are of one length, and all are compared, so that the time tells nothing of the keys.
        if not any([secrets.compare_digest(digest, each) for each in self._digests]):
            raise ApiError(401, "This API key is not valid.", code="invalid_api_key")
        return hashlib.sha256(b"owner of C3 contexts" + digest).hexdigest()[:32]


def _digest(key):
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
