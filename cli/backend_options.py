"""The options of `c3 serve` that say what answers, and the backend that they ask for."""

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from c3.quoting_c3 import printable
from c3.support.arguments import file_name
from c3.support.errors import UserError

BACKENDS = ("transformers", "vllm")


def add_backend_options(parser):
    about = "what answers: transformers in this process, or vLLM in one of its own (docs/serving.md, vLLM)"
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help=f"{about} (default: transformers)")
    about = "the Python that has vLLM, which is started with the server (default: the one that runs c3)"
    parser.add_argument("--vllm-python", type=file_name, metavar="PATH", help=about)
    about = "or where a vLLM runs that has this model's decoder, such as http://127.0.0.1:9000/v1; its key is read from"
    parser.add_argument("--vllm-url", metavar="URL", help=f"{about} the environment variable C3_VLLM_API_KEY")


def check_backend_options(args):
    """
    What can be said before a model is loaded.

    Returns: `tuple[str, str]`, which Python has which vLLM; None where none is to be started.

    Raises:
        UserError: options that contradict each other, no address, or no vLLM.
    """
    given = [name for name in ("--vllm-python", "--vllm-url") if getattr(args, name[2:].replace("-", "_"))]
    if args.backend != "vllm":
        if given:
            raise UserError(f"{given[0]} is for --backend vllm")
        return None
    if len(given) == 2:
        raise UserError("--vllm-python starts a vLLM, --vllm-url names one that runs: give one of the two")
    from c3.serving.vllm_address import check_address
    from c3.serving.vllm_command import find_vllm
    from c3.serving.vllm_process import VllmProcess  # noqa: F401  needs the extra

    if args.vllm_url is None:
        return find_vllm(args.vllm_python)
    check_address(args.vllm_url)
    return None


@contextmanager
def asked_backend(args, model, found):
    """
    The backend for a [`C3Model`].

    Args:
        args: parsed options.
        model ([`C3Model`]): the model.
        found: what `check_backend_options` returned.

    Yields: [`Backend`]; what was started for it is ended with the block.

    Raises:
        UserError: it cannot answer for this model.
    """
    if args.backend != "vllm":
        from c3.serving.transformers_backend import TransformersBackend

        yield TransformersBackend(model)
        return
    from c3.adapters_c3 import has_adapters

    if has_adapters(model):
        raise UserError("this is an adapter, but vLLM has a decoder as a whole: merge it first (c3 merge-lora)")
    if args.vllm_url is not None:
        yield _running(args.vllm_url, model)
        return
    with _started(model, *found) as backend:
        yield backend


def _running(url, model):
    from c3.position_limits_c3 import most_positions
    from c3.serving.vllm_address import KEY_VARIABLE, found_engine, is_open
    from c3.serving.vllm_backend import VllmBackend

    if is_open(url):
        said = f"what is sent to {printable(url)} can be read on its way, the key too: use https, or a tunnel"
        print(f"c3: warning: {said}", file=sys.stderr)
    key = os.environ.get(KEY_VARIABLE, "").strip() or None
    return VllmBackend(model, found_engine(url, key, most_positions(model.config.decoder_config)))


@contextmanager
def _started(model, python, version):
    from c3.convert.export_decoder import write_decoder
    from c3.serving.vllm_backend import VllmBackend
    from c3.serving.vllm_command import MODEL, vllm_command
    from c3.serving.vllm_process import VllmProcess

    with tempfile.TemporaryDirectory(prefix="c3-vllm-", ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        write_decoder(model, folder / MODEL)
        print(f"c3: the engine is vLLM {printable(version)}", file=sys.stderr)
        with VllmProcess(vllm_command(model, python, version), folder) as engine:
            yield VllmBackend(model, engine)
