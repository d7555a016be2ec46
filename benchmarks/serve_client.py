"""A server in a process of its own, and what its clients see, by Python's own HTTP client."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import torch

from .time_limit import OutOfTime

SECONDS_TO_START, SECONDS_TO_ANSWER = 300, 300


@dataclass(frozen=True)
class Served:
    """What came of a request: its text, tokens, seconds to the first piece and to the end; an error in their place."""

    text: str = ""
    tokens: int = 0
    first: float = 0.0
    seconds: float = 0.0
    error: str | None = None


class Client:
    """
    One that keeps its connection.

        with running_server(folder, "cpu", "float32", store, limit) as server:
            name = Client(server.address).add_context("a text", ratio=16)

    Args:
        address (`str`): as `"127.0.0.1:8000"`.
    """

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=SECONDS_TO_ANSWER)

    def add_context(self, text, **options):
        """The id of a context; raises `RuntimeError` where there is none."""
        answer = self._post("/v1/contexts", {"text": text, **options})
        body = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(str(body))
        return body["id"]

    def complete(self, body):
        """[`Served`] of a completion, which is streamed."""
        started = time.perf_counter()
        text, tokens, first = "", 0, None
        try:
            answer = self._post("/v1/completions", body | {"stream": True, "stream_options": {"include_usage": True}})
            if answer.status != 200:
                return Served(error=answer.read().decode())
            for line in answer:
                data = line.decode().removeprefix("data: ").strip()
                if not data or data == "[DONE]":
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    return Served(error=str(chunk["error"]))
                first = time.perf_counter() - started if first is None else first
                text += "".join(each["text"] for each in chunk["choices"])
                tokens = chunk.get("usage", {}).get("completion_tokens", tokens)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.connection.close()
            return Served(error=repr(error))
        return Served(text, tokens, first, time.perf_counter() - started)

    def _post(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return self.connection.getresponse()


@dataclass(frozen=True)
class Server:
    """Where a server listens, and its process."""

    address: str
    process: psutil.Process

    def memory(self):
        """Bytes that are resident."""
        return self.process.memory_info().rss


@contextmanager
def running_server(model, device, dtype, store, time_limit, *more):
    """
    `c3 serve` of a model in a folder, on a free port.

    Args:
        model, store (`Path`): folders of the checkpoint and of contexts.
        device, dtype (`str`): as for the command.
        time_limit ([`TimeLimit`]): within which it must start.
        *more (`str`): options of the command.

    Yields: [`Server`], which has told that it is there.

    Raises:
        OutOfTime: it takes longer.
        RuntimeError: it ends instead.
    """
    options = ["--device", device, "--dtype", dtype, "--port", "0", "--store", str(store), *more]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "c3", "serve", str(model), *options]
    environment = {name: value for name, value in os.environ.items() if name != "C3_API_KEY"} | threads
    with open(store.with_suffix(".log"), "w+b") as log:
        process = subprocess.Popen(command, stderr=log, env=environment)
        try:
            end = time.perf_counter() + min(SECONDS_TO_START, time_limit.seconds_left())
            while not (said := re.search(rb"at (http://\S+)/v1\n", _whole(log))):
                if process.poll() is not None:
                    raise RuntimeError(f"c3 serve ended: {_whole(log).decode(errors='replace')[-500:]}")
                if time.perf_counter() > end:
                    raise OutOfTime
                time.sleep(0.1)
            yield Server(urlsplit(said[1].decode()).netloc, psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _whole(file):
    file.seek(0)
    return file.read()
