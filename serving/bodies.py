"""Bodies of requests: their size before and while they are read, and the JSON in them."""

import asyncio
import json

from starlette.requests import ClientDisconnect

from c3.quoting_c3 import quoted

from .errors import ApiError

MOST_LEVELS = 64
# For a body in all, and beside that a second for so much of it.
SECONDS, BYTES_A_SECOND = 30.0, 1 << 15
JSON, BYTES = "application/json", "application/octet-stream"


def content_type(request):
    """The media type of a request's body, `str` in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request, most, seconds=SECONDS):
    """
    The body of a request, of which no more is read than is allowed, and no slower.

    Args:
        request (`starlette.requests.Request`): the request.
        most (`int`): bytes.
        seconds (`float`): that it may take, and one more for each `BYTES_A_SECOND` that came.

    Returns: `bytes`.

    Raises:
        ApiError: 413, it is longer, or says so; 400, it says no number; 408, it is too slow; 415, it is compressed.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "Send the body without Content-Encoding.")
    said = request.headers.get("content-length")
    if said is not None and not (said.isascii() and said.isdigit() and len(said) < 20):
        raise ApiError(400, f"Content-Length must be a number, not {quoted(said)}.")
    too_long = ApiError(413, f"The body is longer than the {most} bytes that this server takes.", code="body_too_long")
    if said is not None and int(said) > most:
        raise too_long
    body, begun = bytearray(), asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(seconds) as limit:
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise too_long
                limit.reschedule(begun + seconds + len(body) / BYTES_A_SECOND)
    except TimeoutError:
        message = f"The body came too slowly, {len(body)} bytes of it: send it at once, or less of it."
        raise ApiError(408, message, code="body_too_slow") from None
    except ClientDisconnect:
        raise ApiError(400, "The body ended before it was complete.") from None
    return bytes(body)


async def read_json(request, most, seconds=SECONDS):
    """
    The JSON object that a request's body is, `dict`. Arguments and errors as for `read_body`; 415 for another media
    type, which also keeps foreign web pages out, 400 for what is no JSON object.
    """
    if content_type(request) != JSON:
        raise ApiError(415, f"Send JSON, with the header Content-Type: {JSON}.")
    body = await read_body(request, most, seconds)
    try:
        # Aside: a body of many megabytes must not hold up other answers.
        found = await asyncio.to_thread(_parsed, body)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else quoted(str(error))
        raise ApiError(400, f"The body is no JSON: {reason}.") from None
    if not isinstance(found, dict):
        raise ApiError(400, f"The body must be a JSON object, not {type(found).__name__}.")
    return found


def _parsed(body):
    found = json.loads(body.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    # Here, and level by level: what comes after may recurse.
    level = [found]
    for _ in range(MOST_LEVELS):
        level = [inner for each in level if isinstance(each, (dict, list)) for inner in _values(each)]
        if not level:
            return found
    raise RecursionError


def _values(container):
    return container.values() if isinstance(container, dict) else container


def _without_repeats(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is given twice")
    return found


def _no_number(name):
    raise ValueError(f"{name} is no number of JSON")
