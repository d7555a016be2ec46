"""
Merges a LoRA adapter into its base: a plain C3 checkpoint, which loads without PEFT.

    c3 merge-lora ADAPTER_FOLDER OUTPUT_FOLDER [--base PATH_OR_ID]

The merged weights are in the base's dtype and differ from base and adapter by rounding; in float32 the tokens are the
same. Latents that base and adapter made are another model's to the merged one: compress again, or read them with
`allow_mismatch=True`.
"""

import argparse
from pathlib import Path

from c3.base_models_c3 import WHOLE, load_on_bases, named_bases
from c3.modeling_c3 import C3Model
from c3.processing_c3 import C3Processor
from c3.quoting_c3 import in_one_line, printable
from c3.support.arguments import Parser
from c3.support.errors import UserError
from c3.training.optim.lora import NO_PEFT, load_adapter
from c3.whole_files_c3 import whole_folder

from .plain_model import without_zero3


def merge_lora(adapter, folder, base=None, reconstruction_only=None):
    """
    Args:
        adapter (`str`): folder or Hub id of an adapter, see `lora.save_adapter`.
        folder (`str`): where the merged checkpoint goes, with its processor; must not exist, or be empty.
        base (`str`, *optional*): the C3 checkpoint that the adapter goes on, by default the one that it names.
        reconstruction_only (`bool`, *optional*): what the merged config says, see [`C3Config`]. By default what an
            adapter with a config of its own says there, else False: it may have been trained for other prompts than its
            base, which nothing in its folder tells.

    Returns:
        `C3Model`: the merged model.

    Raises:
        ImportError: PEFT is not installed.
        OSError, ValueError: no adapter, no base, one that does not fit the other, or a folder that holds files.
    """
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise ImportError(NO_PEFT) from error
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists already: choose another output folder, or delete it.")
    named, bases = named_bases(adapter, {}), {}
    if WHOLE in named:
        bases = {WHOLE: base or named[WHOLE]}
    else:
        base = base or PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
        if not (base and Path(base).exists()):
            bases = named  # those of a pair, wherever the run that trained it was
    base = adapter if bases else base
    if not base:
        raise ValueError(f"{adapter} does not name the model that it goes on: give it with --base.")
    try:
        model = load_on_bases(C3Model, base, bases, {}, with_adapter=False) if bases else C3Model.from_pretrained(base)
    except OSError as error:
        raise OSError(f"{error} It is the base of {adapter}; if it is elsewhere, say where with --base.") from error
    adapted = load_adapter(model, adapter, base)
    tied = model.config.tie_word_embeddings
    merged = adapted.merge_and_unload(safe_merge=True)
    # PEFT switches it off where the decoder's head is a matrix of its own, but the two parts still share one table.
    merged.config.tie_word_embeddings = tied
    # The base's, for the weights as they were.
    merged.config.prompt_adapter = None
    if not named or reconstruction_only is not None:
        merged.config.reconstruction_only = bool(reconstruction_only)
    try:
        merged.processor = C3Processor.from_pretrained(str(adapter))
    except (OSError, ValueError):
        # None there, as PeftModel.save_pretrained leaves it: the base's, or the error that says what to do.
        merged.processor = merged.processor
    with whole_folder(folder) as unfinished:
        merged.save_pretrained(unfinished)
    merged.name_or_path = str(folder)
    return merged


def merge_anew(adapter, folder, **options):
    """
    As `merge_lora`, while the run that trained the adapter holds its model, into a folder of the run's own (`Path`):
    what an earlier end of the run left there is replaced.
    """
    with whole_folder(folder) as unfinished, without_zero3():
        return merge_lora(adapter, unfinished, **options)


def merge_command(argv, prog):
    """
    Merges as the arguments (`list[str]`) say; `prog` is what the command is called.

    Raises:
        UserError: what `merge_lora` raises.
    """
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", metavar="ADAPTER_FOLDER", help="a folder with adapter_config.json, or a Hub id")
    parser.add_argument("folder", metavar="OUTPUT_FOLDER", help="where the merged checkpoint goes")
    parser.add_argument("--base", metavar="PATH_OR_ID", help="the C3 model that the adapter goes on")
    arguments = parser.parse_args(argv)
    try:
        merge_lora(arguments.adapter, arguments.folder, arguments.base)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(in_one_line(error)) from error
    print(printable(f"Merged: {arguments.folder}"))
