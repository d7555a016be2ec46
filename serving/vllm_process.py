"""vLLM as a process that the server starts, ends, and starts again when it died."""

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import httpx2

from c3.quoting_c3 import printable_lines

from .errors import ApiError
from .vllm_address import VllmAddress
from .vllm_command import MODEL

GUARD = Path(__file__).with_name("vllm_guard.py")
LOG, LINES_OF_LOG = "log", 40
SECONDS_TO_START, SECONDS_TO_SAY, SECONDS_TO_END, SECONDS_OF_HEALTH = 900, 30, 20, 30
# So often within so many seconds: what dies at once would otherwise be started for ever.
MOST_STARTS, SECONDS_OF_STARTS = 5, 900
# Python's names of shared memory, as they stand in a process's map; of vLLM's each may take 250 MB.
SHARED_MEMORY = re.compile(r"/dev/shm/psm_\w+$", re.MULTILINE)


class VllmProcess:
    """
    An engine for [`VllmBackend`], which is started when it is first asked for.

        with VllmProcess(command, folder) as engine:
            address = await engine.ready()

    Between the two stands a guard, see `vllm_guard.py`: however the server ends, the engine ends with it.

    Args:
        command ([`VllmCommand`]): what to start.
        folder (`Path`): of its own, with the decoder's folder; where the server is killed, the guard removes it.
    """

    def __init__(self, command, folder):
        self.command, self.folder, self.address = command, folder, None
        self._process, self._starting, self._is_doubted, self._is_closed = None, None, False, False
        self._starts, self._shared = deque(maxlen=MOST_STARTS), set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    async def ready(self):
        """
        The [`VllmAddress`] of the engine, after it was started, or started again.

        Raises:
            ApiError: 503, it cannot be started.
        """
        is_starting = self._starting is not None and not self._starting.done()
        if not is_starting:
            if self._is_running() and not self._is_doubted:
                return self.address
            self._starting = asyncio.ensure_future(self._start())
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Who waits for it may go away, and others wait too.
        await asyncio.shield(self._starting)
        return self.address

    def doubt(self):
        """Has the engine looked at before the next request, since one failed: True, it may be ready then."""
        self._is_doubted = True
        return True

    async def close(self):
        """Ends the engine."""
        await asyncio.to_thread(self.end)

    def end(self):
        """Ends the engine for good."""
        self._is_closed = True
        if self._process is not None:
            self._process.stdin.close()  # the guard sees that
            self._wait_for_end()
            self._kill()

    def _wait_for_end(self):
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)

    def _is_running(self):
        return self._process is not None and self._process.poll() is None

    async def _start(self):
        if self._is_running():
            if await self._is_healthy():
                self._is_doubted = False
                return
            os.killpg(self._process.pid, signal.SIGTERM)
            await asyncio.to_thread(self._wait_for_end)
        self._kill()
        was_there = bool(self._starts)
        self._check_may_start()
        self._say("vLLM died, and is started again" if was_there else "starting vLLM, which takes a minute or more")
        port, key = _free_port(), secrets.token_hex(24)
        self.address = VllmAddress(f"http://127.0.0.1:{port}/v1", MODEL, key)
        self._process = self._launch(port, key)
        try:
            await self._wait(time.monotonic())
        except BaseException:
            self._kill()
            raise
        self._is_doubted, self._shared = False, _shared_memory(self._process.pid)

    def _check_may_start(self):
        now = time.monotonic()
        if self._is_closed:
            raise ApiError(503, "The server is being shut down.", code="shutting_down")
        if len(self._starts) == MOST_STARTS and now - self._starts[0] < SECONDS_OF_STARTS:
            self._say(f"vLLM was started {MOST_STARTS} times within {SECONDS_OF_STARTS // 60} minutes: it has to wait")
            message = "The engine that answers died too often: ask again in some minutes."
            raise ApiError(503, message, code="engine_unavailable")
        self._starts.append(now)

    def _launch(self, port, key):
        command = [sys.executable, "-I", GUARD, self.folder, *self.command.arguments(self.folder, port)]
        with open(self.folder / LOG, "wb") as log:
            return subprocess.Popen(
                [*map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self.command.environment(key),
                start_new_session=True,
            )

    async def _wait(self, started):
        said, pause = started, 0.05
        while not await self._is_healthy():
            now = time.monotonic()
            if not self._is_running():
                raise self._not_started("ended before it could answer")
            if now - started > SECONDS_TO_START:
                raise self._not_started(f"could not answer after {SECONDS_TO_START} seconds")
            if now - said > SECONDS_TO_SAY:
                self._say(f"still waiting for vLLM, {now - started:.0f} s")
                said = now
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2)
        self._say(f"vLLM is there, after {time.monotonic() - started:.0f} s")

    async def _is_healthy(self):
        """Whether the engine says so itself, which asks the processes behind it."""
        try:
            async with self.address.client() as client:
                url = self.address.url.removesuffix("/v1") + "/health"
                answer = await client.get(url, timeout=SECONDS_OF_HEALTH)
        except httpx2.HTTPError:
            return False
        return answer.status_code == 200

    def _not_started(self, what):
        lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        print(printable_lines("\n".join(lines[-LINES_OF_LOG:])), file=sys.stderr)
        self._say(f"vLLM {what}; above is the end of its log")
        message = "The engine that answers cannot be started; the server's log says why."
        return ApiError(503, message, code="engine_unavailable")

    def _kill(self):
        """The guard, the engine, and what that started, at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()
            self._process = None
            # Its processes remove that themselves, unless all of them were killed.
            for path in self._shared:
                with suppress(OSError):
                    os.remove(path)

    @staticmethod
    def _say(what):
        print(f"c3: {what}", file=sys.stderr, flush=True)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _shared_memory(group):
    """Paths of what processes of a group share, `set[str]`, where the system tells (Linux)."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(folder.name)) == group:
                found.update(SHARED_MEMORY.findall((folder / "maps").read_text()))
    return found
