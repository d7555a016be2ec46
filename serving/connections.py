"""Connections: how long one may stay without a whole request, or with an answer that nobody reads, and how many."""

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import ApiError

BUSY = ApiError(503, "Too many connections are open: connect again later.", code="overloaded")


class TimedProtocol(H11Protocol):
    """
    uvicorn's HTTP, with ends for what it waits for without one [0.54]: the first byte of a connection, the rest of a
    request's head, and a client that does not read. Bodies are timed where they are read, see `bodies.py`.

        uvicorn.Config(app, **CONNECTIONS)
    """

    request_seconds = 10  # until the head of a request is whole
    reading_seconds = 60  # in which a client reads nothing of what waits for it
    # With room for the store's and the model's own files within the 1024 that a process usually may open.
    most_connections = 800

    def connection_made(self, transport):
        super().connection_made(transport)
        self._waiting = self._stalled = None
        if len(self.connections) > self.most_connections:
            body = json.dumps(BUSY.body()).encode()
            head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            transport.write(f"{head}Retry-After: 1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            transport.close()
        else:
            self._time_request()

    def data_received(self, data):
        super().data_received(data)  # which ends the timer between two requests with the first byte
        self._time_request()

    def pause_writing(self):
        super().pause_writing()
        self._stalled = self.loop.call_later(self.reading_seconds, self.transport.abort)

    def resume_writing(self):
        super().resume_writing()
        self._stalled = _ended(self._stalled)

    def connection_lost(self, exc):
        self._waiting, self._stalled = _ended(self._waiting), _ended(self._stalled)
        super().connection_lost(exc)

    def _time_request(self):
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._waiting = _ended(self._waiting)
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.request_seconds, self.transport.close)


def _ended(timer):
    """None, in the place of a timer or None."""
    if timer is not None:
        timer.cancel()


# Between two requests: longer than proxies keep theirs (nginx: 60 seconds), so that none is sent to a closed one.
CONNECTIONS = {"http": TimedProtocol, "ws": "none", "timeout_keep_alive": 75}
