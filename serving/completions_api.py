"""`/v1/chat/completions` and `/v1/completions`."""

import asyncio
from contextlib import aclosing

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from .answers import Answer
from .bodies import read_json
from .completion_forms import CompletionForm, event, usage_of
from .completion_requests import chat_request, text_request
from .disconnects import ClientGone, unless_gone
from .errors import logged

GONE = 499  # what servers note of clients that went away

# Bytes of a question's body: texts go to /v1/contexts.
MOST_QUESTION = 4 << 20


def add_completions(app, served):
    """Adds the two addresses to an app, for what is `served` ([`Served`])."""

    async def read(request):
        return await read_json(request, min(served.most_body, MOST_QUESTION), served.body_seconds)

    async def complete(request, asked, owner, is_chat):
        if is_chat:
            prompt = await asyncio.to_thread(served.prompts.of_messages, owner, asked.messages)
        else:
            prompt = await asyncio.to_thread(served.prompts.of_text, owner, asked.prompt, asked.contexts)
        sampling = asked.sampling(prompt.new_tokens(asked.options["max_tokens"]))
        answer = Answer(served.backend, served.prompts.model.processor, prompt.embeds, sampling, owner, asked.stops)
        form = CompletionForm(served.name, is_chat)
        try:
            if asked.stream:
                pieces = answer.pieces()
                # Before anything is said: what goes wrong up to here has a status of its own.
                first = await unless_gone(request, anext(pieces, None))
                events = _events(form, answer, prompt, first, pieces, asked.with_usage)
                return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
            text = await unless_gone(request, _joined(answer))
        except ClientGone:
            return Response(status_code=GONE)
        return JSONResponse(form.whole(text, answer.finish_reason, usage_of(prompt, answer.tokens)))

    @app.post("/v1/chat/completions")
    async def chat(request: Request):
        owner = served.keys.owner(request.headers.get("authorization"))
        asked = chat_request(await read(request), served.name)
        return await complete(request, asked, owner, is_chat=True)

    @app.post("/v1/completions")
    async def completions(request: Request):
        owner = served.keys.owner(request.headers.get("authorization"))
        asked = text_request(await read(request), served.name)
        return await complete(request, asked, owner, is_chat=False)


async def _joined(answer):
    async with aclosing(answer.pieces()) as pieces:
        return "".join([piece async for piece in pieces])


async def _events(form, answer, prompt, first, pieces, with_usage):
    """The events of a stream whose first piece, None where there is none, has come. To close it ends the work."""
    async with aclosing(pieces):
        try:
            for chunk in form.beginning():
                yield event(chunk)
            if first is not None:
                yield event(form.chunk(first))
            async for piece in pieces:
                yield event(form.chunk(piece))
            yield event(form.chunk("", answer.finish_reason))
            if with_usage:
                yield event(form.usage_chunk(usage_of(prompt, answer.tokens)))
        except Exception as error:  # the status is sent already, and a stream that just ends would look complete
            yield event(logged(error).body())
        else:
            yield event("[DONE]")
