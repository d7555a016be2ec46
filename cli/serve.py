"""`c3 serve`: a model over HTTP."""

import os
import signal
import socket
import sys
from pathlib import Path

from c3.quoting_c3 import printable
from c3.support.arguments import MODEL_HELP, file_name, whole_number
from c3.support.errors import UserError, described, needing

from .backend_options import add_backend_options, asked_backend, check_backend_options
from .model_options import add_debug, add_device_options, asked_model

SUMMARY = "serve a model over HTTP, in the OpenAI form"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SECONDS_TO_FINISH = 30


def add_arguments(parser):
    parser.description = (
        "Compresses texts and answers prompts about them, over HTTP: docs/serving.md. API keys are read from "
        "the environment variable C3_API_KEY, separated by commas; without any, everybody who can connect may ask."
    )
    add_debug(parser)
    parser.add_argument("model", nargs="?", type=file_name, metavar="MODEL", help=MODEL_HELP)
    add_device_options(parser)
    add_backend_options(parser)
    parser.add_argument("--host", default=LOOPBACK[0], help="where to listen (default: this machine alone, 127.0.0.1)")
    parser.add_argument("--port", type=whole_number(0, 65535), default=8000, help="0 takes a free one (default: 8000)")
    about = "folder of the contexts, or an address that fsspec knows (default: ~/.cache/c3/contexts)"
    parser.add_argument("--store", type=file_name, metavar="DIR_OR_URL", help=about)
    for name, default, about in (
        ("--max-store-mib", 1024, "contexts of an API key: the oldest make room"),
        ("--max-age-hours", 168, "a context, since its text was last sent"),
        ("--max-body-mib", 64, "a request"),
        ("--max-text-chars", 1 << 20, "characters of a text to compress"),
    ):
        parser.add_argument(
            name, type=whole_number(1), default=default, metavar="N", help=f"{about} (default: {default})"
        )


def run(args):
    with needing("serve"):
        import uvicorn

        from c3.serving.app import Served, make_app
        from c3.serving.canary import check_canary
        from c3.serving.connections import CONNECTIONS
        from c3.serving.context_store import ContextStore
        from c3.serving.keys import VARIABLE, Keys

        vllm = check_backend_options(args)
    keys = Keys(given := os.environ.get(VARIABLE, ""))
    if given and not keys:
        raise UserError(f"{VARIABLE} holds no key: give some, separated by commas, or unset it")
    if args.host not in LOOPBACK and not keys:
        raise UserError(f"--host {args.host}: whoever can connect may ask; set API keys in {VARIABLE} first")
    with _listening(args.host, args.port) as listener:
        store = _opened(ContextStore, args)
        with asked_model(args) as model, asked_backend(args, model, vllm) as backend:
            limits = {"most_body": args.max_body_mib << 20, "most_characters": args.max_text_chars}
            served = Served(model, backend, store, keys, args.batch_size, **limits)
            check_canary(model, served.backend)
            host, port = listener.getsockname()[:2]
            where = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
            print(f"c3: serving {printable(served.name)} at {where}", file=sys.stderr, flush=True)
            config = uvicorn.Config(
                make_app(served),
                log_level="warning",
                timeout_graceful_shutdown=SECONDS_TO_FINISH,
                server_header=False,
                proxy_headers=False,
                **CONNECTIONS,
            )
            try:
                uvicorn.Server(config).run(sockets=[listener])
            finally:
                if served.is_working():  # the interpreter would wait for it
                    os._exit(128 + signal.SIGTERM)


def _listening(host, port):
    """The socket, before anything is loaded: the port may be taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error


def _opened(make_store, args):
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    address = args.store or cache / "c3" / "contexts"
    try:
        return make_store(address, args.max_store_mib << 20, args.max_age_hours * 3600)
    except Exception as error:  # whatever the library of such an address raises
        raise UserError(f"--store {address} cannot be used: {described(error)}") from error
