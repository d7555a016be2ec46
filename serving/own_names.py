"""The names of this machine: a web page could let a name of its own lead here, and ask (DNS rebinding)."""

import re

from .errors import ApiError

OWN_NAME = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)


class OwnNamesOnly:
    """
    ASGI middleware: refuses requests under another name than those of this machine.

        app.add_middleware(OwnNamesOnly)
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        answer = self.app
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name == b"host"]
            if len(given) != 1 or not OWN_NAME.fullmatch(given[0]):
                message = "Without API keys this server answers to 127.0.0.1, [::1] and localhost alone: see Host."
                answer = ApiError(400, message, code="other_host").response()
        await answer(scope, receive, send)
