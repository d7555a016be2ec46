"""
What answers in vLLM's place: the part of its HTTP API that c3 uses, in a thread of the tests with a real model's
answers, and as a `vllm` that another Python can start, which says always the same.
"""

import asyncio
import base64
import io
import json
import shlex
import sys
import threading
import time
from contextlib import contextmanager

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from c3.serving.backends import Sampling
from c3.serving.transformers_backend import TransformersBackend
from c3.serving.vllm_address import VllmAddress

KEY = "key-of-the-engine"
DONE = "data: [DONE]\n\n"


class StandIn:
    """
    Answers rows of embeddings as a model does, with the token that ends a text, as vLLM does.

        with running_stand_in(model) as engine:
            VllmBackend(model, engine.address)

    Attributes:
        bodies (`list[dict]`): that it was sent.
        fault (`str` or None): what goes wrong from now on, see `_events`; an `int` is a status.
        left (`threading.Event`): set when an answer was not read to its end.
    """

    def __init__(self, model, max_model_len=512):
        self.backend = TransformersBackend(model)
        self.bodies, self.fault, self.left, self.address = [], None, threading.Event(), None
        self.max_model_len = max_model_len
        self.app = FastAPI()
        self.app.post("/v1/completions")(self.complete)
        self.app.get("/v1/models")(self.models)

    async def models(self, request: Request):
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "Unauthorized"}}, 401)
        return JSONResponse({"data": [{"id": "decoder", "max_model_len": self.max_model_len}]})

    async def complete(self, request: Request):
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "Unauthorized"}}, 401)
        body = await request.json()
        self.bodies.append(body)
        if isinstance(self.fault, int):
            return JSONResponse({"error": {"message": "/root/engine.py failed"}}, self.fault)
        if self.fault == "no stream":
            return PlainTextResponse("Hello")
        embeds = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)
        sampling = Sampling(body["max_tokens"], body["temperature"], body["top_p"], body.get("seed"))
        return StreamingResponse(self._events(embeds, sampling, body), media_type="text/event-stream")

    async def _events(self, embeds, sampling, body):
        count, fault = 0, self.fault
        try:
            async for token in self.backend.answer(embeds, sampling):
                count += 1
                yield _event([token])
                if fault == "breaks off":
                    raise RuntimeError("/root/engine.py broke off")
                if fault == "just ends":
                    return
                if fault == "error":
                    yield f"data: {json.dumps({'error': {'message': '/root/engine.py failed', 'code': 500}})}\n\n{DONE}"
                    return
                if fault == "aborts":
                    yield _event([], "abort") + DONE
                    return
                if fault == "no JSON":
                    yield "data: {/root\n\n"
                if fault == "no ids":
                    yield f"data: {json.dumps({'choices': [{'text': 'a', 'finish_reason': None}]})}\n\n"
                if fault == "is silent":
                    await asyncio.sleep(2)
            is_ended = count < sampling.max_tokens
            yield _event([body["stop_token_ids"][0]] if is_ended else [], "stop" if is_ended else "length") + DONE
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise


def _event(tokens, reason=None):
    choice = {"index": 0, "text": "", "finish_reason": reason, "token_ids": tokens}
    return f"data: {json.dumps({'object': 'text_completion', 'choices': [choice]})}\n\n"


@contextmanager
def running_stand_in(model, **options):
    """A [`StandIn`] at an address of this machine."""
    engine = StandIn(model, **options)
    server = uvicorn.Server(uvicorn.Config(engine.app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        engine.address = VllmAddress(f"http://127.0.0.1:{port}/v1", "decoder", KEY)
        yield engine
    finally:
        server.should_exit = True
        thread.join()
        asyncio.run(engine.backend.close())


# What `vllm.entrypoints.openai.api_server` is for the Python that `write_vllm` makes: it has a process of its own, too.
API_SERVER = """
import http.server, json, os, pathlib, subprocess, sys, time
here = pathlib.Path(__file__).parents[3]
options = dict(zip(sys.argv, sys.argv[1:]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
said = {"argv": sys.argv, "environment": dict(os.environ), "pids": [os.getpid(), child.pid], "folder": os.getcwd()}
if (here / "shares").exists():
    from multiprocessing.shared_memory import SharedMemory
    memory = SharedMemory(create=True, size=4096)
    said["memory"] = memory.name
(here / "starts.jsonl").open("a").write(json.dumps(said) + "\\n")
if (here / "dies").exists():
    child.kill()
    sys.exit("RuntimeError: no such head size")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if (here / "is ill").exists() else 200)
        self.end_headers()
    def do_POST(self):
        is_known = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for place in range(body["max_tokens"]):
            ended = "length" if place == body["max_tokens"] - 1 else None
            choice = {"token_ids": [40 + place], "finish_reason": ended}
            self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\\n\\n".encode())
            time.sleep(0.01)
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""


def write_vllm(folder):
    """A Python, its path, that has such a `vllm`; files `dies`, `is ill`, `shares` (memory) there make it so."""
    inner = folder / "vllm" / "entrypoints" / "openai"
    inner.mkdir(parents=True)
    for each in (inner, inner.parent, inner.parent.parent):
        (each / "__init__.py").write_text("")
    (inner / "api_server.py").write_text(API_SERVER)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(folder))} exec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return python


def starts(folder):
    """What each `vllm` of a folder was started with, `list[dict]`."""
    file = folder / "starts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
