"""Works of several keys take turns, pass by pass, and end with their last client. Run: pytest tests/serving"""

import asyncio
import json
import threading
import time

import pytest

from c3.serving.app import Served
from c3.serving.context_store import ContextStore
from c3.serving.errors import ApiError
from c3.serving.keys import Keys
from c3.serving.transformers_backend import TransformersBackend
from c3.serving.turns import MOST_BEGUN, Turns, Unwanted
from serving_requests import CONTEXTS, PASSAGE, bearer, until

LONG = PASSAGE * 200


class Steps:
    """Works of steps that note themselves; the first of all waits for `start`, so that others can come."""

    def __init__(self):
        self.turns, self.done, self.start, self.threads = Turns(0), [], threading.Event(), []

    def work(self, name, steps):
        self.start.wait(20)
        for _ in range(steps):
            self.done.append(name)
            self.turns.pause()
        return name

    def ask(self, owner, name, steps):
        """Somebody who waits."""

        def wait():
            with self.turns.waiting_for(owner, self.work, name, steps) as work:
                assert work.result(20) == name

        count = self.waiting
        self.threads.append(threading.Thread(target=wait))
        self.threads[-1].start()
        until(lambda: self.waiting > count)

    @property
    def waiting(self):
        return sum(work.clients for work in list(self.turns._works.values()))

    def finish(self):
        self.start.set()
        [thread.join() for thread in self.threads]
        assert not self.turns.is_working() and not self.turns._works and not self.turns._queues
        return "".join(self.done)


def test_owners_take_turns():
    steps = Steps()
    for owner, name, count in (("one", "a", 6), ("one", "b", 2), ("one", "c", 2), ("two", "z", 2), ("two", "z", 2)):
        steps.ask(owner, name, count)
    # The last two wait for one work.
    assert steps.finish() == "azbzcabcaaaa"


def test_an_owner_has_few_begun():
    """Their memory is held at once."""
    steps = Steps()
    names = [chr(ord("a") + place) for place in range(MOST_BEGUN + 4)]
    for name in names:
        steps.ask("one", name, 3)
    done = steps.finish()
    begun = [len({name for name in done[: place + 1] if name in done[place:]}) for place in range(len(done))]
    assert max(begun) == MOST_BEGUN and [done.count(name) for name in names] == [3] * len(names)


def test_a_work_ends_with_its_last_client():
    turns, seen, go = Turns(0), [], threading.Event()

    def work(name):
        while True:
            seen.append(name)
            go.wait(20)
            turns.pause()

    with turns.waiting_for("one", work, "a") as first:
        with turns.waiting_for("one", work, "a") as second, turns.waiting_for("two", work, "b") as other:
            assert first is second
        assert isinstance(other.exception(), Unwanted) and "b" not in seen  # which was not begun
        go.set()
        until(lambda: len(seen) > 20)
    until(lambda: not turns.is_working())
    assert isinstance(first.exception(20), Unwanted)
    # Sent again, it begins anew; and a server that ends waits for nobody.
    with turns.waiting_for("one", work, "a") as third:
        turns.close()
        assert third is not first and isinstance(third.exception(20), Unwanted)


def test_errors_and_too_many(monkeypatch):
    turns, go = Turns(), threading.Event()

    def fail():
        go.wait(20)
        raise ApiError(400, "This text cannot be.")

    monkeypatch.setattr("c3.serving.turns.MOST_WAITING", 1)
    with turns.waiting_for("one", fail) as work:
        with pytest.raises(ApiError, match="1 requests wait"), turns.waiting_for("one", print):
            pass
        go.set()
        assert isinstance(work.exception(20), ApiError)
    with turns.waiting_for("two", len, "abc") as work:
        assert work.result(20) == 3


def asked(client, key, body, gone):
    """The status of an answer to a text that is sent to the app; its client goes when `gone` is set."""
    data, sent = json.dumps(body).encode(), []
    headers = [(b"content-type", b"application/json"), (b"authorization", bearer(key)["Authorization"].encode())]
    scope = {"type": "http", "method": "POST", "path": CONTEXTS, "raw_path": CONTEXTS.encode(), "query_string": b""}
    scope |= {"asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "headers": headers}
    incoming = iter([{"type": "http.request", "body": data, "more_body": False}])

    async def receive():
        if (message := next(incoming, None)) is None:
            await gone.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message):
        sent.append(message)

    async def ask():
        await client.app(scope, receive, send)
        return sent[0]["status"]

    return asyncio.ensure_future(ask())


def test_a_long_text_holds_nobody(serve, model, monkeypatch, tmp_path):
    """Another key's short one is answered in the midst of it; and it ends with its last client."""
    client, batches = serve(tmp_path), []
    encode = model.encode_context
    # So long that it is not done before its client is gone, however fast the machine is.
    monkeypatch.setattr(model, "encode_context", lambda **kw: (batches.append(1), time.sleep(0.01), encode(**kw))[2])

    async def talk():
        first, second, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
        long = [asked(client, "one", {"text": LONG}, gone) for gone in (first, second)]
        while len(batches) < 3:
            await asyncio.sleep(0.001)
        assert await asked(client, "two", {"text": PASSAGE}, never) == 200
        first.set()
        assert await long[0] == 499 and not long[1].done()
        count = len(batches)
        while len(batches) < count + 5:  # for the other one
            await asyncio.sleep(0.001)
        second.set()
        assert await long[1] == 499

    asyncio.run(talk())
    count = len(batches)
    time.sleep(0.3)
    assert len(batches) <= count + 1 and len(list(tmp_path.glob("*/ctx-*"))) == 1


def test_every_pass_can_pause(model, tmp_path, monkeypatch):
    """Of the encoder, too; and a batch of windows has many of the decoder."""
    served = Served(model, TransformersBackend(model), ContextStore(tmp_path, 1 << 20, 3600), Keys("one"))
    latents, calls = model.compress(PASSAGE), []
    monkeypatch.setattr(served.turns, "pause", lambda: calls.append(1))
    for method in ("greedy", "parallel"):
        calls.clear()
        model.expand(latents, method=method, batch_size=latents.num_windows)
        assert len(calls) > (1 if method == "parallel" else int(latents.text_lengths.max()) - 1)
    calls.clear()
    batches = -(-model.compress(PASSAGE * 3, window=8, batch_size=2).num_windows // 2)
    assert len(calls) == batches > 2
    calls.clear()
    model.compress(PASSAGE * 3, window=8, batch_size=2, exact=True)
    assert len(calls) == 2 * batches
    calls.clear()

    def end():
        raise Unwanted

    monkeypatch.setattr(served.turns, "pause", end)
    for read in (model.compress, model.expand):
        with pytest.raises(Unwanted):
            read(PASSAGE if read == model.compress else latents)
    asyncio.run(served.close())
    assert model.expand(latents) and model.compress(PASSAGE)
