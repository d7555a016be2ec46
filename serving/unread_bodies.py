"""Requests that are answered before their body was read: what is left of it must not be taken for another request."""

import asyncio
from contextlib import suppress

SECONDS = 2.0


class CloseUnread:
    """
    ASGI middleware. Such an answer says `Connection: close`. What the client still sends is read for a while, and
    forgotten: a connection that is closed before may be reset, and the answer be lost (RFC 9112, 9.6).

        app.add_middleware(CloseUnread)
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not _has_body(scope["headers"]):
            await self.app(scope, receive, send)
            return
        is_read = is_closing = False

        async def receive_noting():
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)  # of a disconnect, too
            return message

        async def read_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS):
                    while not is_read:
                        await receive_noting()

        async def send_closing(message):
            nonlocal is_closing
            if message["type"] == "http.response.start" and not is_read:
                is_closing = True
                message = closing(message)
            elif is_closing and not message.get("more_body", False):
                await send(message | {"more_body": True})
                await read_on()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self.app(scope, receive_noting, send_closing)


def closing(start):
    """The start of an answer, with which its connection ends."""
    headers = [each for each in start.get("headers", ()) if each[0].lower() != b"connection"]
    return start | {"headers": [*headers, (b"connection", b"close")]}


def _has_body(headers):
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)
