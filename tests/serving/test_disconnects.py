"""Clients that go away before they have their answer end the work for it. Run: pytest tests/serving"""

import asyncio
import json

import pytest

from serving_requests import COMPLETIONS


class Endless:
    """A backend that answers for ever; it notes what it was asked to end."""

    def __init__(self):
        self.given, self.ended = 0, asyncio.Event()

    async def answer(self, embeds, sampling, owner):
        try:
            while True:
                self.given += 1
                yield 40 + self.given % 50
                await asyncio.sleep(0.001)
        finally:
            self.ended.set()

    async def close(self):
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_the_work_ends(serve, tmp_path, stream):
    backend = Endless()
    client = serve(tmp_path, backend)
    body = json.dumps({"prompt": "When? ", "max_tokens": 500, "stream": stream}).encode()
    headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer one")]
    scope = {"type": "http", "method": "POST", "path": COMPLETIONS, "headers": headers, "query_string": b""}
    scope |= {
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "raw_path": COMPLETIONS.encode(),
    }
    sent = []

    async def ask():
        incoming = asyncio.Queue()
        incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})

        async def receive():
            return await incoming.get()

        async def send(message):
            sent.append(message)

        asking = asyncio.ensure_future(client.app(scope, receive, send))
        while backend.given < 20:
            await asyncio.sleep(0.001)
        assert not backend.ended.is_set() and bool(sent) == stream
        incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(asking, 20)
        await asyncio.wait_for(backend.ended.wait(), 20)
        return backend.given

    assert asyncio.run(ask()) < 500
    assert sent[0]["status"] == (200 if stream else 499)
    assert not any(b"[DONE]" in message.get("body", b"") for message in sent)
