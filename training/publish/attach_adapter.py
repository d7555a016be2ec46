"""
Puts a LoRA adapter into the checkpoint that it goes on, which then answers prompts with it, and compresses and gives
texts back without it: the adapter of a finished run with `lora: {parts: [decoder], train_queries: false}`.

    c3 attach-adapter ADAPTER CHECKPOINT [--folder ask_adapter]

The checkpoint's own weights stay as they are, and so do the latents that it makes and reads. The adapter's folder in it
holds no more than the adapter, in bfloat16, and a config, see `prompt_adapter_c3.py`; one of the same name is replaced.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import CONFIG_NAME
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME

from c3.adapters_c3 import only_reading_is_adapted
from c3.base_models_c3 import WHOLE, named_bases
from c3.configuration_c3 import FOLDER
from c3.convert.checkpoint_folder import read_json
from c3.latents_provenance_c3 import LatentMismatchError
from c3.modeling_c3 import C3Model
from c3.prompt_adapter_c3 import FILES, TRAINED_ON
from c3.quoting_c3 import in_one_line, printable, quoted
from c3.support.arguments import Parser
from c3.support.errors import UserError
from c3.support.loading import load_model, quiet_libraries
from c3.training.optim.lora import load_adapter
from c3.whole_files_c3 import whole_file, whole_folder, write_whole

ABOVE = ".."  # the checkpoint, from the adapter's folder in it


class Attached(NamedTuple):
    """
    What was attached: its folder (`Path`), how many parameters, how many bytes they take, and whether the adapter's own
    base was there to be compared with the checkpoint (`bool`).
    """

    folder: Path
    parameters: int
    size: int
    compared: bool


def attach_adapter(adapter, checkpoint, folder="ask_adapter"):
    """
    Writes an adapter into a checkpoint, as its `prompt_adapter`. What is there appears whole or not at all, and the
    checkpoint's config.json names it once it is there.

        attach_adapter("runs/ask/final", "my-c3")
        C3Model.from_pretrained("my-c3").generate(latents, "Who wrote it?")

    Args:
        adapter (`str`): folder of an adapter, see `lora.save_adapter`, which stays as it is.
        checkpoint (`str`): folder of the checkpoint that it goes on.
        folder (`str`): name of the folder to make in that.

    Returns:
        [`Attached`]

    Raises:
        ImportError: PEFT is not installed.
        OSError, ValueError: no adapter, or one that changes how latents are made, gives nothing but texts back, does
            not fit the checkpoint or was trained on another one; no checkpoint with weights of its own, or one that has
            a prompt adapter of another name; a name that cannot be that of a folder, or is that of something else.
    """
    adapter, checkpoint = Path(adapter), Path(checkpoint)
    config = _checked_config(checkpoint, folder)
    own = _adapter_config(adapter, config)
    read = _latents_read(adapter, checkpoint)
    compared = _compare(adapter, checkpoint, read)
    described = read_json(adapter / ADAPTER_CONFIG_NAME) | {"base_model_name_or_path": ABOVE}
    weights = load_file(adapter / ADAPTER_SAFE_WEIGHTS_NAME)
    weights = {name: each.to(torch.bfloat16).contiguous() for name, each in weights.items()}
    with whole_folder(checkpoint / folder) as unfinished:
        unfinished.mkdir()
        with whole_file(unfinished / ADAPTER_SAFE_WEIGHTS_NAME) as file:
            save_file(weights, file, metadata={"format": "pt", TRAINED_ON: read.weights_fingerprint})
        _write_json(unfinished / ADAPTER_CONFIG_NAME, described)
        _write_json(unfinished / CONFIG_NAME, own)
    # Last: what it names is there.
    _write_json(checkpoint / CONFIG_NAME, config | {"prompt_adapter": folder})
    parameters = sum(each.numel() for each in weights.values())
    size = (checkpoint / folder / ADAPTER_SAFE_WEIGHTS_NAME).stat().st_size
    return Attached(checkpoint / folder, parameters, size, compared)


def attach_command(argv, prog):
    """
    Attaches as the arguments (`list[str]`) say; `prog` is what the command is called.

    Raises:
        UserError: what `attach_adapter` raises.
    """
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", metavar="ADAPTER", help="a folder with adapter_config.json, such as final of a run")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the folder of the C3 model that it goes on")
    parser.add_argument(
        "--folder", default="ask_adapter", metavar="NAME", help="of the folder to make in it, by default ask_adapter"
    )
    arguments = parser.parse_args(argv)
    try:
        with quiet_libraries():
            done = attach_adapter(arguments.adapter, arguments.checkpoint, arguments.folder)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(in_one_line(error)) from error
    unseen = "" if done.compared else "; the base that it was trained on is not there to be compared with"
    said = f"{done.parameters} parameters, {done.size / 1e6:.1f} MB"
    print(printable(f"Attached: {done.folder}, {said}{unseen}"))


def _checked_config(checkpoint, folder):
    """What config.json of the checkpoint (`Path`) says, `dict`, where an adapter can go into this folder of it."""
    if not isinstance(folder, str) or not FOLDER.fullmatch(folder):
        raise ValueError(
            f"{quoted(folder)} cannot be the name of the adapter's folder: choose one such as ask_adapter."
        )
    if not checkpoint.is_dir():
        raise ValueError(f"There is no folder {checkpoint}: name that of a checkpoint on disk.")
    if (checkpoint / ADAPTER_CONFIG_NAME).is_file():
        raise ValueError(f"{checkpoint} is an adapter itself: merge it into its base first (c3 merge-lora).")
    config = read_json(checkpoint / CONFIG_NAME)
    if bases := named_bases(checkpoint, {}):
        named = ", ".join(map(quoted, bases.values()))
        raise ValueError(
            f"{checkpoint} leaves its weights to {named}: name the folder of a checkpoint that holds its own."
        )
    known, target = config.get("prompt_adapter"), checkpoint / folder
    if known not in (None, folder):
        raise ValueError(
            f"{checkpoint} has a prompt adapter already, in {quoted(known)}: give its name with --folder to replace it."
        )
    # One that was cut off before config.json named it may be left.
    if target.exists() and not (target.is_dir() and {each.name for each in target.iterdir()} <= set(FILES)):
        raise FileExistsError(f"{target} exists already, and is no prompt adapter: choose another name with --folder.")
    return config


def _adapter_config(adapter, config):
    """
    The config (`dict`) that goes beside the adapter (`Path`): its own; of an adapter alone that of the base that it
    names, which has what `init_config` of its run changed, or else that of the checkpoint.
    """
    if not (adapter / ADAPTER_CONFIG_NAME).is_file():
        raise ValueError(f"{adapter} holds no {ADAPTER_CONFIG_NAME}: name the folder of an adapter.")
    if (adapter / CONFIG_NAME).is_file():
        own = read_json(adapter / CONFIG_NAME)
    else:
        base = read_json(adapter / ADAPTER_CONFIG_NAME).get("base_model_name_or_path")
        own = read_json(Path(base, CONFIG_NAME)) if base and Path(base, CONFIG_NAME).is_file() else config
        own = own | {"reconstruction_only": False}  # of what it was trained for the base's config says nothing
    if own.get("reconstruction_only"):
        raise ValueError(f"{adapter} was trained to give texts back and for no prompts (reconstruction_only).")
    own.pop("auto_map", None)  # the code is the checkpoint's
    return own | {"base_models": {WHOLE: ABOVE}, "prompt_adapter": None}


def _latents_read(adapter, checkpoint):
    """The `LatentProvenance` of a checkpoint, whose latents an adapter reads; raises `ValueError` where it does not."""
    model = load_model(str(checkpoint), "cpu", "stored")
    provenance = model.latent_provenance()
    if not only_reading_is_adapted(load_adapter(model, adapter, checkpoint).get_base_model()):
        raise ValueError(
            f"{adapter} changes how latents are made, which would no longer be those of {checkpoint}: train one with "
            "lora: {parts: [decoder], train_queries: false}."
        )
    return provenance


def _compare(adapter, checkpoint, provenance):
    """
    Raises `ValueError` where the base that an adapter was trained on is another one than the checkpoint. Returns
    whether (`bool`) it is on this machine, so that the two were compared.
    """
    try:
        # With an adapter that only reads it counts as its base.
        theirs = C3Model.from_pretrained(str(adapter), local_files_only=True).latent_provenance()
    except OSError:  # it is not there, and the adapter may be for this checkpoint
        return False
    try:
        theirs.check_same_model(provenance)
    except LatentMismatchError as error:
        named = named_bases(adapter, {}) or read_json(adapter / ADAPTER_CONFIG_NAME)
        base = named.get(WHOLE) or named.get("base_model_name_or_path") or "a pair"
        raise ValueError(
            f"{adapter} was trained on {quoted(base)}, whose weights, config or tokenizer are not those of "
            f"{checkpoint}: name the folder of that one, or of a copy."
        ) from error
    return True


def _write_json(path, fields):
    """Writes a config as transformers does, but for what within a field has an order of its own."""
    write_whole(path, json.dumps(dict(sorted(fields.items())), indent=2) + "\n")
