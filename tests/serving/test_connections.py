"""Connections that are slow, idle, or answered before their body was read: raw sockets. Run: pytest tests/serving"""

import asyncio
import collections
import json
import random
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from c3.serving.connections import CONNECTIONS, TimedProtocol
from serving_requests import CONTEXTS, PASSAGE, mutated

HEALTH = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"


@contextmanager
def listening(app, **limits):
    """The address of an app, whose connections have these limits."""
    protocol = type("Impatient", (TimedProtocol,), limits)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **CONNECTIONS | {"http": protocol}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def address(serve, tmp_path_factory):
    app = serve(tmp_path_factory.mktemp("contexts"), body_seconds=0.4, most_body=4096).app
    with pytest.MonkeyPatch.context() as patch, listening(app, request_seconds=0.3) as address:
        patch.setattr("c3.serving.unread_bodies.SECONDS", 0.2)
        yield address


def talk(address, *pieces, pause=0.02):
    """What comes back, `bytes`, up to the end of a connection, while pieces are sent one after the other."""
    received = b""
    with socket.create_connection(address) as connection:
        left = iter(pieces)
        for _ in range(500):
            try:
                # Who hears something stops talking.
                connection.sendall(next(left, b"") if not received else b"")
                connection.settimeout(pause)
                if not (piece := connection.recv(1 << 16)):
                    return received
                received += piece
            except TimeoutError:
                continue
            except ConnectionError:
                return received
    raise AssertionError(f"the connection did not end: {received}")


def answered(connection, *pieces):
    """A whole answer, `bytes`, of JSON, to a request in pieces."""
    for piece in pieces:
        connection.sendall(piece)
    received = b""
    while not received.endswith(b"}"):
        assert (piece := connection.recv(1 << 16)), received
        received += piece
    return received


def head(length, key=b"one", content=b"application/json"):
    return (
        f"POST {CONTEXTS} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n".encode()
        + b"Content-Type: %s\r\nAuthorization: Bearer %s\r\n\r\n" % (content, key)
    )


def refused(answer, status, code):
    """Whether an answer is one error, in OpenAI's form, that ends the connection."""
    first, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    says_close = b"connection: close" in first.lower().split(b"\r\n")
    return first.startswith(b"HTTP/1.1 %d " % status) and says_close and error["code"] == code


def test_requests_that_do_not_come(address):
    """Nothing, a head byte by byte, and the same after a request that was answered."""
    begun = time.monotonic()
    assert talk(address) == talk(address, b"GET /", *[b"a"] * 400) == b""
    with socket.create_connection(address, timeout=20) as connection:
        assert answered(connection, HEALTH).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(b"GET /hea")
        assert connection.recv(1 << 16) == b""
    assert time.monotonic() - begun > 3 * 0.3


def test_bodies_that_are_slow(address):
    body = json.dumps({"text": PASSAGE}).encode()
    begun = time.monotonic()
    assert refused(talk(address, head(1000), *[b" "] * 500), 408, "body_too_slow")
    assert 0.4 < time.monotonic() - begun < 20
    # In several pieces, but fast enough; the connection is not ended, and takes another.
    with socket.create_connection(address, timeout=20) as connection:
        answer = answered(connection, head(len(body)), body[:10], body[10:])
        assert answer.startswith(b"HTTP/1.1 200") and b"connection: close" not in answer.lower()
        assert answered(connection, HEALTH).startswith(b"HTTP/1.1 200")


def test_bodies_that_are_not_read(address, monkeypatch):
    """The answer comes, whatever is still sent, which is never taken for another request."""
    assert refused(talk(address, head(100, b"three")), 401, "invalid_api_key")
    chunked = head(5).replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    assert refused(talk(address, chunked + b"2000\r\n" + bytes(0x2000)), 413, "body_too_long")
    assert refused(talk(address, chunked + b"2\r\n{}\r\n"), 408, "body_too_slow")
    monkeypatch.setattr("c3.serving.unread_bodies.SECONDS", 20)
    for body in (HEALTH * 200, bytes(1 << 20)):
        for start, status, code in (
            (head(len(body), b"three"), 401, "invalid_api_key"),
            (head(len(body)), 413, "body_too_long"),
            (head(len(body), content=b"text/html"), 415, None),
        ):
            assert refused(talk(address, start + body), status, code)


def test_heads_that_are_long(address):
    """Also in one piece; the connection ends, and what follows is no request."""
    for request in (HEALTH, head(0), head(1 << 20)):
        for size in (17_000, 100_000):
            long = request.replace(b"Host: here", b"Host: here\r\nX: " + b"a" * size)
            assert refused(talk(address, long + HEALTH), 431, "head_too_long")
    just = b"Host: here\r\nX: ".ljust((16 << 10) - len(HEALTH) + len(b"Host: here"), b"a")
    with socket.create_connection(address, timeout=20) as connection:
        assert answered(connection, HEALTH.replace(b"Host: here", just)).startswith(b"HTTP/1.1 200")
    assert refused(talk(address, HEALTH.replace(b"Host: here", just + b"a")), 431, "head_too_long")


def test_a_body_with_two_lengths(address):
    """It is answered, by its chunks, and the connection ends: another may have read it otherwise."""
    body = json.dumps({"text": PASSAGE}).encode()
    both = head(3).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = talk(address, both + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + HEALTH)
    assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1") == 1
    assert answer.lower().count(b"connection: close") == 1
    assert refused(talk(address, both.replace(b"Bearer one", b"Bearer six") + b"0\r\n\r\n"), 401, "invalid_api_key")


@pytest.mark.parametrize("rounds", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_requests(address, rounds):
    """Heads, too: an answer or a 4xx, or the end of the connection where half a head is all that came."""
    random.seed(1)
    body = json.dumps({"text": "a", "ratio": 2}).encode()
    seen = collections.Counter()
    for _ in range(rounds):
        received = b""
        with socket.create_connection(address, timeout=20) as connection, suppress(ConnectionError):
            connection.sendall(mutated(head(len(body)) + body))
            while not received.endswith(b"}") and (piece := connection.recv(1 << 16)):
                received += piece
        seen[received[9:12]] += 1
    assert seen.keys() <= {b"", b"200", b"400", b"401", b"404", b"405", b"408", b"413", b"415"}, seen
    assert seen[b"400"] > rounds / 4 and seen[b""] < rounds / 4
    assert talk(address, HEALTH.replace(b"here", b"here\r\nConnection: close")).endswith(b'{"status":"ok"}')


def test_too_many_connections(serve, tmp_path):
    with listening(serve(tmp_path).app, most_connections=2) as address:
        with socket.create_connection(address), socket.create_connection(address):
            assert refused(talk(address), 503, "overloaded")


def test_a_client_that_does_not_read():
    """What waits for it is given up, and the work for it ends."""
    ended, app = threading.Event(), FastAPI()

    async def pieces():
        try:
            while True:
                yield bytes(1 << 16)
                await asyncio.sleep(0)
        finally:
            ended.set()

    @app.get("/health")
    async def endless():
        return StreamingResponse(pieces())

    with listening(app, reading_seconds=0.2) as address, socket.create_connection(address) as connection:
        connection.sendall(HEALTH)
        assert ended.wait(20)
