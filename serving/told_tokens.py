"""What a backend tells of an answer while somebody listens: its tokens, one by one, and then the end or an error."""

import asyncio

END = object()


class ToldTokens(asyncio.Queue):
    """
    A queue that is iterated over: up to `END`, or to an exception, which is raised there.

        said = ToldTokens()
        for each in (5, 17, END):
            said.put_nowait(each)
        async for token in said: ...
    """

    def __aiter__(self):
        return self

    async def __anext__(self):
        each = await self.get()
        if each is END:
            raise StopAsyncIteration
        if isinstance(each, Exception):
            raise each
        return each
