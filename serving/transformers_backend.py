"""
The backend in the server's own process: transformers' `generate`, in a thread, for all requests that there are.

transformers' own continuous batching (`generate_batch`) takes ids alone, no embeddings [5.23], and its `generate` takes
no row while it runs. So it is stopped when somebody waits, the newcomers' first token is computed, and it goes on with
all of them from the joined cache, see `batches.py`.
"""

import asyncio
import threading
from collections import deque

from .batches import Batch, BatchRow, can_join
from .errors import ApiError, logged
from .fair_shares import check_share, place_in_turn
from .generation_ends import keep_only_ends
from .keys import ANYBODY
from .told_tokens import END, ToldTokens

# Together, of a batch: what their cache takes.
MOST_ROWS, MOST_POSITIONS = 64, 1 << 17
# That are read at once, of rows that begin together: what goes through the decoder then takes far more than its cache.
MOST_READ = 1 << 14
MOST_WAITING = 256


class TransformersBackend:
    """
    A [`Backend`]. The model's `generation_config` is replaced: of it only the ids that end a text, and pad, are kept,
    since penalties that look back would not see what came before a batch was joined.

        backend = TransformersBackend(model)
        async for token in backend.answer(embeds, Sampling(max_tokens=64)): ...

    Args:
        model ([`C3Model`]): whose decoder answers.
        most_rows (`int`): rows of a batch.
    """

    def __init__(self, model, most_rows=MOST_ROWS):
        self.model, self.most_rows = model.answering(), most_rows
        self.ends = keep_only_ends(self.model)
        self._joins = can_join(self.model)
        self._waiting, self._changed, self._is_closed = deque(), threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="c3-generate", daemon=True)
        self._thread.start()

    async def answer(self, embeds, sampling, owner=ANYBODY):
        """See [`Backend`]."""
        loop, said = asyncio.get_running_loop(), ToldTokens()

        def tell(each):
            try:
                loop.call_soon_threadsafe(said.put_nowait, each)
            except RuntimeError:  # the loop is closed: nobody listens any more
                row.is_cancelled = True

        row = BatchRow(embeds, sampling, tell, owner)
        with self._changed:
            if self._is_closed:
                raise ApiError(503, "The server is being shut down.", code="shutting_down")
            owners = [each.owner for each in self._waiting]
            check_share(owner, owners, MOST_WAITING)
            self._waiting.insert(place_in_turn(owner, owners), row)
            self._changed.notify()
        try:
            async for token in said:
                yield token
        finally:
            row.is_cancelled = True
            with self._changed:
                if row in self._waiting:
                    self._waiting.remove(row)

    async def close(self):
        """See [`Backend`]."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    # ---------------------------------------------------------------------------------------- in the thread

    def _work(self):
        batch = None
        while (newcomers := self._take(batch)) is not None:
            try:
                batch = self._advance(batch, newcomers)
            except Exception as error:  # whatever it is: the next request must find a backend that works
                self._fail(logged(error), [*newcomers, *(batch.rows if batch else ())])
                batch = None
        self._fail(ApiError(503, "The server was shut down.", code="shutting_down"), batch.rows if batch else ())

    def _take(self, batch):
        """The rows that may begin now, `list`; waits where there is nothing else to do. None when all is over."""
        with self._changed:
            while not (self._waiting or batch or self._is_closed):
                self._changed.wait()
            if self._is_closed:
                self._fail(ApiError(503, "The server was shut down.", code="shutting_down"), self._waiting)
                return None
            rows = []
            while self._waiting and self._has_room([*(batch.rows if batch else ()), *rows]):
                begun = [*rows, self._waiting[0]]
                if rows and len(begun) * max(row.length for row in begun) > MOST_READ:
                    break
                rows.append(self._waiting.popleft())
            return [row for row in rows if not row.is_cancelled]

    def _has_room(self, rows):
        """Whether the first that waits has a place beside some rows."""
        if rows and not self._joins and any(row.tokens for row in rows):
            return False
        beside = [*rows, self._waiting[0]]
        fits = len(beside) * max(row.most_positions for row in beside) <= MOST_POSITIONS
        return not rows or (fits and len(beside) <= self.most_rows)

    def _advance(self, batch, newcomers):
        """Computes the newcomers' first token, and then all rows' until one could join or half of them are done."""
        if newcomers:
            begun = Batch(self.model, newcomers, self.ends)
            begun.run(lambda: self._joins or self._is_closed)
            begun = self._without_done(begun)
            if batch and begun:
                batch.join(begun)
            batch = batch or begun
        if batch:
            batch.run(lambda: self._is_closed or (self._joins and self._pays_to_stop(batch.rows)))
            batch = self._without_done(batch)
        return batch

    def _pays_to_stop(self, rows):
        left = [row for row in rows if not row.is_done]
        if len(left) <= len(rows) // 2:
            return True
        with self._changed:
            return bool(self._waiting) and self._has_room(left)

    def _without_done(self, batch):
        """The batch, after those that are done were told so; None where none is left."""
        for row in batch.rows:
            if row.is_done:
                row.tell(END)
        batch.drop_done()
        return batch if batch.rows else None

    @staticmethod
    def _fail(error, rows):
        for row in rows:
            row.is_done = True
            row.tell(error)
