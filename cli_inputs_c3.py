"""What the commands read: texts, devices, models, tokenizers. What goes wrong becomes one line that says what to do."""

import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

from .quoting_c3 import printable, quoted

PACKAGE = Path(__file__).parent


class UserError(Exception):
    """What the caller of a command can put right."""


def one_line(error):
    """The first line of an error: what follows in transformers' and torch's messages is advice about their own API."""
    lines = str(error).strip().splitlines()
    return printable(lines[0].rstrip()) if lines else type(error).__name__


def read_text(source):
    """
    Args:
        source (`str`): a file, or `-` for standard input.

    Returns: `str`, the very characters of the file: line ends and a byte order mark are kept.

    Raises:
        UserError: no such file, a folder, not UTF-8, empty.
    """
    if source == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    else:
        name, path = source, Path(source)
        if path.is_dir():
            raise UserError(f"{source} is a folder: name text files")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"there is no file {source}") from None
    if not data:
        raise UserError(f"{name} is empty: give at least one character")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x} ({error.reason}). "
            "Only text in UTF-8 can be compressed: convert it first, for example with iconv"
        ) from None


def find_device(name=None):
    """The `torch.device` called `name`, by default a CUDA GPU or else the CPU; UserError if it cannot be used."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used here: {one_line(error)}") from error
    return device


@contextmanager
def loaded_model(name=None, device=None, dtype="auto", debug=False):
    """
    A model to work with; meanwhile the libraries' warnings and loading bars stay off standard error unless `debug`, and
    our own are one line each.

    Args:
        name (`str`, *optional*): folder or Hub id of a C3 checkpoint, by default the one in the package's own folder.
        device (`str`, *optional*): see `find_device`.
        dtype (`str`): `auto` is float32 on the CPU, where it is exact and rarely slower, else as stored.

    Yields: [`C3Model`], with its processor.

    Raises:
        UserError: nothing there, no C3 checkpoint, weights that do not fit, no such device.
    """
    if name is not None and Path(name).exists():
        _check_folder(Path(name))
    if name is None and not (PACKAGE / "model.safetensors").is_file():
        raise UserError(f"no model is installed in {PACKAGE}: name a folder or a Hub id with --model")
    device = find_device(device)
    with nullcontext() if debug else _quiet_libraries():
        yield _load(str(PACKAGE) if name is None else name, device, dtype)


def load_tokenizer(name):
    """The tokenizer in a folder or under a Hub id; UserError if it cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"cannot load a tokenizer from {name}: {one_line(error)}") from error


def _check_folder(path):
    if path.is_file():
        raise UserError(f"--model {path} is a file: name the folder of a C3 checkpoint, or a Hub id")
    if not (path / "config.json").is_file():
        raise UserError(f"--model {path} holds no config.json: name the folder of a C3 checkpoint")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"--model {path} holds no weights (*.safetensors): name the folder of a trained C3 checkpoint")


def _load(name, device, dtype):
    import torch
    from transformers import PreTrainedConfig

    from .auto_c3 import C3Model

    if dtype == "auto":
        dtype = torch.float32 if device.type == "cpu" else "auto"
    # Whatever fails while a checkpoint is read, from a missing cache to a damaged file, is a matter of that checkpoint.
    try:
        kind = PreTrainedConfig.get_config_dict(name)[0].get("model_type")
        if kind != "c3":
            raise ValueError(f"it is a {quoted(kind)} model, not a C3 one")
        model, report = C3Model.from_pretrained(name, dtype=dtype, output_loading_info=True)
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(f"its weights lack {len(missing)} tensor(s), first {quoted(missing[0])}")
        model.processor  # noqa: B018  loads it: a missing tokenizer should be found before any work
    except Exception as error:
        raise UserError(f"cannot load a C3 model from {name}: {one_line(error)}") from error
    return model.to(device).eval()


@contextmanager
def _quiet_libraries():
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings_in_one_line():
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def warnings_in_one_line():
    """Meanwhile our own warnings are one line each on standard error, and others stay off it."""
    from .latents_file_c3 import LatentFileWarning
    from .options_c3 import CompressionWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (CompressionWarning, LatentFileWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = _show_in_one_line
        yield


def _show_in_one_line(message, *_, **__):
    print(f"c3: warning: {one_line(message)}", file=sys.stderr)
