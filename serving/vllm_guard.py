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
from contextlib import suppress

SECONDS_TO_END = 10


def main(folder, command):
    # The guard outlives the engine. Handlers, unlike SIG_IGN, are not inherited by it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    server_is_gone = threading.Event()
    engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=folder)
    threading.Thread(target=_end_with_server, args=(engine, server_is_gone), daemon=True).start()
    engine.wait()
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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
