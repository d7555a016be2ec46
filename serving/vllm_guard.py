"""
The process between a server and the engine that it starts: it ends the engine when the server is gone, however that
ended, and removes its folder. A file that runs by itself, with Python's own modules alone, so that it stays small:

    python -I vllm_guard.py FOLDER COMMAND…

Standard input is a pipe whose other end the server holds open. The guard leads a process group, of which the engine and
all that it starts are members: what is left of them when the engine ended is killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

SECONDS_TO_END, SECONDS_FOR_THE_REST = 10, 5


def main(folder, command):
    # The guard outlives the engine. Handlers, unlike SIG_IGN, are not inherited by it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    server_is_gone = threading.Event()
    engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=folder)
    threading.Thread(target=_end_with_server, args=(engine, server_is_gone), daemon=True).start()
    engine.wait()
    # The rest may remove what it shares: kernels keep that for ever.
    os.killpg(0, signal.SIGTERM)
    end = time.monotonic() + SECONDS_FOR_THE_REST
    while _others() and time.monotonic() < end:
        time.sleep(0.05)
    if server_is_gone.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)  # this process is one of them


def _end_with_server(engine, server_is_gone):
    while sys.stdin.buffer.read(1):
        pass
    server_is_gone.set()
    engine.terminate()
    with suppress(subprocess.TimeoutExpired):
        engine.wait(SECONDS_TO_END)
    engine.kill()


def _others():
    """Other processes of the group that run, `list[str]` of their numbers, where the system tells (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, group, *_ = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(group) == os.getpgrp() and state != "Z" and int(folder.name) != os.getpid():
                found.append(folder.name)
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
