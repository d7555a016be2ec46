"""`/v1/contexts`: texts are compressed, latents sent, and both described, given back as text, and forgotten."""

import asyncio

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse

from .bodies import BYTES, JSON, content_type, read_body, read_json
from .completion_requests import check_model
from .disconnects import ClientGone, unless_gone
from .errors import ApiError
from .fields import checked, number, string, whole_number

FIELDS = {"model": string, "text": string, "ratio": number(1, 10**6), "num_latents": whole_number(1, 10**6)}


def add_contexts(app, served):
    """Adds the addresses to an app, for what is `served` ([`Served`])."""

    def owner_of(request):
        return served.keys.owner(request.headers.get("authorization"))

    async def work(request, function, owner, *arguments):
        """What encodes or decodes windows, for which owners take turns; it ends when all its clients are gone."""
        with served.turns.waiting_for(owner, function, owner, *arguments) as found:
            try:
                return await unless_gone(request, asyncio.wrap_future(found))
            except ClientGone:
                raise ApiError(499, "The client is gone.") from None

    @app.post("/v1/contexts")
    async def add(request: Request):
        owner, kind = owner_of(request), content_type(request)
        if kind == BYTES:
            data = await read_body(request, served.most_body, served.body_seconds)
            return JSONResponse(await work(request, served.contexts.add_file, owner, data))
        if kind != JSON:
            raise ApiError(415, f"Send a text as {JSON}, or a file of latents as {BYTES}, and say so in Content-Type.")
        body = await read_json(request, served.most_body, served.body_seconds)
        check_model(body, served.name)
        fields = checked(body, FIELDS)
        if "text" not in fields:
            raise ApiError(400, "text is missing.", "text")
        if (length := len(fields["text"])) > served.most_characters:
            message = f"The text has {length} characters, and this server takes {served.most_characters}: send parts."
            raise ApiError(413, message, "text", "text_too_long")
        if "ratio" in fields and "num_latents" in fields:
            raise ApiError(400, "ratio and num_latents are both given: give one.", "ratio")
        options = fields.get("ratio"), fields.get("num_latents")
        return JSONResponse(await work(request, served.contexts.add_text, owner, fields["text"], *options))

    @app.get("/v1/contexts/{name}")
    async def describe(request: Request, name: str):
        return JSONResponse(await asyncio.to_thread(served.contexts.describe, owner_of(request), name))

    @app.get("/v1/contexts/{name}/text")
    async def text(request: Request, name: str):
        return PlainTextResponse(await work(request, served.contexts.text, owner_of(request), name))

    @app.delete("/v1/contexts/{name}")
    async def delete(request: Request, name: str):
        await asyncio.to_thread(served.contexts.delete, owner_of(request), name)
        return JSONResponse({"id": name, "object": "context", "deleted": True})
