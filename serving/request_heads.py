"""Heads of requests: how long one may be, and those that say in two ways how long their body is."""

from .errors import ApiError
from .unread_bodies import closing

MOST_BYTES = 16 << 10


class HeadChecks:
    """
    ASGI middleware. uvicorn measures heads only while they are incomplete, so not those that come in one piece [0.54].
    And a connection is closed after a request with both Transfer-Encoding and Content-Length, by the second of which
    something in front may have taken part of its body for another request (RFC 9112, 6.1).

        app.add_middleware(HeadChecks)
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_closing(message):
            await send(closing(message) if message["type"] == "http.response.start" else message)

        is_long = _length(scope) > MOST_BYTES
        ends = is_long or {b"transfer-encoding", b"content-length"} <= {name for name, _ in scope["headers"]}
        message = f"The head of this request is longer than {MOST_BYTES} bytes: send fewer or shorter headers."
        answer = ApiError(431, message, code="head_too_long").response() if is_long else self.app
        await answer(scope, receive, send_closing if ends else send)


def _length(scope):
    """Bytes of a head; blanks around the values of headers are not known here."""
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    line = [scope["method"].encode(), scope.get("raw_path") or b"", query, b"  HTTP/1.1\r\n\r\n"]
    return sum(map(len, line)) + sum(len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"])
