"""Models, tokenizers and devices for commands. What goes wrong becomes one line that says what to do."""

import json
import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

from c3.quoting_c3 import quoted

from .errors import UserError, is_out_of_memory, one_line

PACKAGE = Path(__file__).parents[1]
CONFIGS = ("config.json", "adapter_config.json")
MODEL_FILES = (*CONFIGS, "tokenizer_config.json", "tokenizer.json")
SECONDS_FOR_THE_HUB = 5  # to answer at all; each file of a checkpoint would be asked for again and again


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
        dtype (`str`): `auto` is float32 on the CPU, where it is exact and rarely slower, else as stored; `stored` is
            that everywhere.

    Yields: [`C3Model`], with its processor.

    Raises:
        UserError: nothing there, no C3 checkpoint, weights that do not fit, no such device.
    """
    with quiet_libraries(debug):
        yield load_model(name, device, dtype)


def quiet_libraries(debug=False):
    """Keeps the libraries' warnings and loading bars off standard error meanwhile, unless `debug`."""
    return nullcontext() if debug else _quiet_libraries()


def load_model(name=None, device=None, dtype="auto"):
    """The [`C3Model`] of `loaded_model`, with what the libraries say about it."""
    if name is not None and Path(name).exists():
        _check_folder(Path(name))
    if name is None and not (PACKAGE / "model.safetensors").is_file():
        raise UserError(f"no model is installed in {PACKAGE}: name a folder or a Hub id with --model")
    device = find_device(device)
    name = str(PACKAGE) if name is None else name
    return _load(name, device, dtype, **find_source(name, "a C3 model"))


def check_answers(model):
    """Raises `UserError` for a [`C3Model`] that was trained to give texts back and nothing else."""
    if model.only_repeats():
        raise UserError(
            "this model only gives texts back (reconstruction_only) and answers no questions: name one that was "
            "trained on questions with --model, which c3 train makes of instruction_data; c3 expand gives the text"
        )


def find_source(name, kind, files=MODEL_FILES, repo_type="model"):
    """
    Where something is to be loaded from, found out once and fast: transformers would ask for each file, for half a
    minute where the Hub does not answer.

    Args:
        name (`str`): a folder or a Hub id.
        kind (`str`): what it is, for messages, as "a tokenizer"; empty where the caller says so.
        files: of which at least one is in the cache if what is wanted is.
        repo_type (`str`): as for `hf_hub_download`.

    Returns: `dict`, keywords for `from_pretrained`: to look on this machine alone where the Hub does not answer.

    Raises:
        UserError: neither a folder nor a Hub id; or the Hub does not answer and its cache does not hold it.
    """
    from huggingface_hub import constants, get_session, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if Path(name).exists():
        return {}
    cannot = f"cannot load {kind}: there is no" if kind else "there is no"
    cannot += f" {'file' if repo_type == 'dataset' else 'folder'} {name}, and"
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(f"{cannot} it is no Hub id") from None
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS_FOR_THE_HUB)
    except Exception as error:
        if not any(isinstance(try_to_load_from_cache(name, file, repo_type=repo_type), str) for file in files):
            reason = f"the Hub, {constants.ENDPOINT}, does not answer ({one_line(error)})"
            raise UserError(f"{cannot} {reason}") from error
        return {"local_files_only": True}
    return {}


def load_tokenizer(name):
    """The tokenizer in a folder or under a Hub id; UserError if it cannot be loaded."""
    from transformers import AutoTokenizer

    import c3.auto_c3  # noqa: F401  so that the configuration of a C3 checkpoint, ours among them, is no unknown one

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False, **find_source(name, "a tokenizer"))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"cannot load a tokenizer from {name}: {one_line(error)}") from error


def _check_folder(path):
    if path.is_file():
        raise UserError(f"{path} is a file: name the folder of a C3 checkpoint, or a Hub id")
    if not any((path / name).is_file() for name in CONFIGS):
        raise UserError(f"{path} holds no config.json: name the folder of a C3 checkpoint")
    if not any(path.glob("*.safetensors")):
        raise UserError(f"{path} holds no weights (*.safetensors): name the folder of a trained C3 checkpoint")


def _load(name, device, dtype, **source):
    import torch

    from c3.auto_c3 import C3Model

    if dtype == "auto":
        dtype = torch.float32 if device.type == "cpu" else "auto"
    elif dtype == "stored":
        dtype = "auto"
    # Whatever fails while a checkpoint is read, from a missing cache to a damaged file, is a matter of that checkpoint.
    try:
        kind = _model_type(name, source)
        if kind != "c3":
            raise ValueError(f"it is a {quoted(kind)} model, not a C3 one")
        model, report = C3Model.from_pretrained(name, dtype=dtype, output_loading_info=True, **source)
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(f"its weights lack {len(missing)} tensor(s), first {quoted(missing[0])}")
        model.processor  # noqa: B018  loads it: a missing tokenizer should be found before any work
        return model.to(device).eval()
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(f"out of memory for the model {name}: --dtype bfloat16 needs half of float32's") from error
        raise UserError(f"cannot load a C3 model from {name}: {one_line(error)}") from error


def _model_type(name, source):
    """`model_type` of a checkpoint, or of what an adapter without a config of its own goes on."""
    from transformers import PreTrainedConfig
    from transformers.utils import find_adapter_config_file

    config, _ = PreTrainedConfig.get_config_dict(name, **source)
    if not config and (adapter := find_adapter_config_file(name, **source)):
        base = json.loads(Path(adapter).read_text(encoding="utf-8"))["base_model_name_or_path"]
        config, _ = PreTrainedConfig.get_config_dict(base, **source)
    return config.get("model_type")


@contextmanager
def _quiet_libraries():
    from transformers.utils import logging

    if datasets := sys.modules.get("datasets"):
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
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
    from c3.latents_file_c3 import LatentFileWarning
    from c3.options_c3 import CompressionWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (CompressionWarning, LatentFileWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = _show_in_one_line
        yield


def _show_in_one_line(message, *_, **__):
    print(f"c3: warning: {one_line(message)}", file=sys.stderr)
