"""Places of a queue that owners of keys share: how many one may hold, and where its next request stands."""

from collections import Counter

from .errors import ApiError


def check_share(owner, holders, most):
    """
    Sees that an owner may have one more place. One alone may have all; several have equal shares, and who holds less
    than its share gets a place also where another, who was alone before, holds all of them.

        check_share("two", ["one"] * 256, most=256)

    Args:
        owner (`str`): of [`Keys`], who asks.
        holders (`Iterable[str]`): owners, of each place that is held.
        most (`int`): places.

    Raises:
        ApiError: 503, nobody else holds a place, and there is none left; 429, others do, and the owner has its share.
    """
    held = Counter(holders)
    others = len(held.keys() - {owner})
    if held[owner] < -(-most // (others + 1)):
        return
    if not others:
        raise ApiError(503, f"{held[owner]} requests wait already: ask again later.", code="overloaded")
    message = f"{held[owner]} requests of this key wait already, its share while others ask, too: ask again later."
    raise ApiError(429, message, code="rate_limit_exceeded")


def place_in_turn(owner, waiting):
    """
    Where in a queue, whose owners take turns, the next request of one stands.

        place_in_turn("two", ["one", "one", "one"])  # 1

    Args:
        owner (`str`): whose it is.
        waiting (`list[str]`): owners, of each request that waits.

    Returns: `int`.
    """
    own, before = waiting.count(owner), Counter()
    for place, each in enumerate(waiting):
        if before[each] > own:
            return place
        before[each] += 1
    return len(waiting)
