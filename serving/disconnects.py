"""Clients that go away before they have their answer."""

import asyncio
from contextlib import suppress


class ClientGone(Exception):
    """The client went away, and nobody reads an answer: `except ClientGone: return`."""


async def unless_gone(request, work):
    """
    What a coroutine returns; it is cancelled where the client goes away.

        answer = await unless_gone(request, make_answer())

    Args:
        request (`starlette.requests.Request`): whose body was read.
        work (`Coroutine`): makes the answer.

    Raises:
        ClientGone: the client is gone.
    """
    making = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([making, going], return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise ClientGone
        return await making
    finally:
        for task in (making, going):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass
