"""The backend that asks vLLM, over HTTP. Rows are sent as embeddings, whole: chat templates were applied before."""

import asyncio
from contextlib import aclosing

from .errors import ApiError, logged
from .fair_shares import check_share
from .generation_ends import keep_only_ends
from .keys import ANYBODY
from .told_tokens import END, ToldTokens
from .vllm_answers import request_body, streamed_tokens

# At once: how many of them are answered together vLLM decides, but each holds its row here and there.
MOST_ASKED = 320
# Errors after which the engine may be dead.
DOUBTFUL = ("engine_unavailable", "engine_failed", "engine_timeout")


class VllmBackend:
    """
    A [`Backend`]. Of the model's `generation_config` only the ids that end a text, and pad, are kept.

        backend = VllmBackend(model, VllmAddress("http://127.0.0.1:9000/v1", "decoder"))
        async for token in backend.answer(embeds, Sampling(max_tokens=64)): ...

    Args:
        model ([`C3Model`]): whose decoder the engine has.
        engine ([`VllmProcess`] or [`VllmAddress`]): that answers.
    """

    def __init__(self, model, engine):
        self.engine, self.ends = engine, keep_only_ends(model.answering())
        self._reading, self._is_closed = {}, False  # tasks, and whose they are

    async def answer(self, embeds, sampling, owner=ANYBODY):
        """See [`Backend`]."""
        if self._is_closed:
            raise ApiError(503, "The server is being shut down.", code="shutting_down")
        check_share(owner, self._reading.values(), MOST_ASKED)
        said = ToldTokens()
        # In a task of its own, which can be ended from outside while nobody waits for a token.
        reading = asyncio.ensure_future(self._read(embeds, sampling, said.put_nowait))
        self._reading[reading] = owner
        reading.add_done_callback(self._reading.pop)
        try:
            async for token in said:
                yield token
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def close(self):
        """See [`Backend`]."""
        self._is_closed = True
        for reading in tuple(self._reading):
            reading.cancel()
        await self.engine.close()

    async def _read(self, embeds, sampling, tell):
        """Tells all tokens, or the error, and the end."""
        try:
            async with aclosing(self._tokens(embeds, sampling)) as tokens:
                async for token in tokens:
                    tell(token)
            tell(END)
        except asyncio.CancelledError:
            tell(ApiError(503, "The server was shut down.", code="shutting_down"))
            raise
        except Exception as error:
            tell(logged(error))

    async def _tokens(self, embeds, sampling):
        for may_ask_again in (True, False):
            address = await self.engine.ready()
            body = await asyncio.to_thread(request_body, address, embeds, sampling, self.ends)
            try:
                async with aclosing(streamed_tokens(address, body, self.ends)) as tokens:
                    async for token in tokens:
                        yield token
                return
            except ApiError as error:
                can_be_ready = error.code in DOUBTFUL and self.engine.doubt()
                # Nothing was sent then: the engine died before.
                if not (may_ask_again and can_be_ready and error.code == "engine_unavailable"):
                    raise
