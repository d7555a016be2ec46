"""Who may compute next: works of several owners take turns on one model, and end when nobody waits for them."""

import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

from .fair_shares import check_share

MOST_WAITING = 256
# Of an owner, whose memory is held at once.
MOST_BEGUN = 8


class Unwanted(Exception):
    """Nobody waits for a work any more; only [`Turns`] raises and catches it."""


class Work(Future):
    """What is computed in a thread of its own, for `clients` (`int`) that wait for it; see [`Turns`]."""

    def __init__(self, owner, function, arguments):
        super().__init__()
        self.set_running_or_notify_cancel()  # asyncio cancels none that is: others may wait for it
        self.owner, self.function, self.arguments = owner, function, arguments
        self.clients, self.is_wanted, self.is_begun = 0, True, False
        self.turn = threading.Semaphore(0)


class Turns:
    """
    Computes one work at a time, each up to its next `pause()`. Then comes the next owner, and of each owner the next
    of its works.

        turns = Turns()
        contexts = Contexts(model, checks, store)  # whose model pauses before each pass
        with turns.waiting_for(owner, contexts.add_text, owner, "a long text") as work:
            about = work.result()

    Args:
        seconds (`float`): of a turn, before which a pause changes nothing.
    """

    def __init__(self, seconds=0.1):
        self.seconds, self._end = seconds, 0.0
        self._lock, self._here = threading.Lock(), threading.local()
        self._works, self._queues, self._current = {}, {}, None

    @contextmanager
    def waiting_for(self, owner, function, *arguments):
        """
        Within it somebody waits for `function(*arguments)`: the same one, where others wait for that already.

        Yields: [`Work`], a `concurrent.futures.Future`.

        Raises:
            ApiError: 503, `MOST_WAITING` works wait already; 429, the owner's share of them does.
        """
        key = function, arguments
        with self._lock:
            work = self._works.get(key)
            if work is None:
                check_share(owner, (each.owner for each in self._works.values()), MOST_WAITING)
                work = self._works[key] = Work(owner, function, arguments)
                self._queue(work)
            work.clients += 1
            if self._current is None:
                self._next()
        try:
            yield work
        finally:
            with self._lock:
                work.clients -= 1
                if not work.clients:
                    self._give_up(work)

    def pause(self):
        """In the midst of a work: lets others have their turns, or ends it. Does nothing elsewhere."""
        work = getattr(self._here, "work", None)
        if work is None or (work.is_wanted and time.monotonic() < self._end):
            return
        if not work.is_wanted:
            raise Unwanted
        with self._lock:
            # Behind all other owners, also where more of this one's came meanwhile.
            self._queues[work.owner] = self._queues.pop(work.owner, deque())
            self._queue(work)
            self._next()
        work.turn.acquire()
        if not work.is_wanted:
            raise Unwanted

    def close(self):
        """Ends all works at their next pause."""
        with self._lock:
            for work in list(self._works.values()):
                self._give_up(work)

    def is_working(self):
        """Whether something is still being computed."""
        return self._current is not None

    def _queue(self, work):
        self._queues.setdefault(work.owner, deque()).append(work)

    def _next(self):
        """The turn of the next work, if any; of an owner who then stands behind all others."""
        self._current = None
        if not self._queues:
            return
        owner = next(iter(self._queues))
        queue = self._queues.pop(owner)
        begun = [work for work in queue if work.is_begun]
        work = begun[0] if len(begun) >= MOST_BEGUN else queue[0]
        queue.remove(work)
        if queue:
            self._queues[owner] = queue
        self._current, self._end = work, time.monotonic() + self.seconds
        if work.is_begun:
            work.turn.release()
        else:
            work.is_begun = True
            threading.Thread(target=self._run, args=(work,), name="c3-compress", daemon=True).start()

    def _run(self, work):
        self._here.work = work
        try:
            settle = partial(work.set_result, work.function(*work.arguments))
        except BaseException as error:
            settle = partial(work.set_exception, error)
        with self._lock:
            self._forget(work)
            self._next()
        settle()

    def _give_up(self, work):
        """One that is begun ends when its turn comes; whoever sends the same again has it done anew."""
        work.is_wanted = False
        self._forget(work)
        if not work.is_begun:
            queue = self._queues[work.owner]
            queue.remove(work)
            if not queue:
                del self._queues[work.owner]
            work.is_begun = True  # and over
            work.set_exception(Unwanted())

    def _forget(self, work):
        key = work.function, work.arguments
        if self._works.get(key) is work:
            del self._works[key]
