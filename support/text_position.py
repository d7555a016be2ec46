"""Which share of texts a text belongs to, whatever is around it."""

import hashlib


def position_of(text, purpose):
    """
    A number from 0 to below 1, `float`, that depends on a text and on what it is for alone, so that one can choose a
    share of texts, the same ones whatever is around them.

    Args:
        text (`str`): of a document; None counts as empty.
        purpose (`str`): choices for different purposes have nothing to do with each other.
    """
    data = (text or "").encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(data, digest_size=8, person=purpose.encode()).digest()
    # As many bits as a float holds, so that none is rounded up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53
