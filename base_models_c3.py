"""
Checkpoints without the weights of the models that they were put together from, which `config.base_models` names: saved
so with a LoRA adapter, a pair of language models takes megabytes, and its weights are loaded from where they are. So
are those of a C3 checkpoint that is to have another config, which then names it as `model`: `../..` is the folder there
from its own, in the same repository.

    AutoModel.from_pretrained("adapter", trust_remote_code=True)
    AutoModel.from_pretrained("adapter", trust_remote_code=True, base_models={"decoder": "a/folder"})  # it is here
"""

import json
import os
import posixpath
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME, cached_file, has_file, is_peft_available

from .configuration_c3 import OWN_FIELDS
from .quoting_c3 import printable_lines
from .trained_encoders_c3 import encoder_and_queries

SOURCE_OPTIONS = ("revision", "cache_dir", "token", "subfolder", "local_files_only")
ADAPTER = "adapter_config.json"
ADAPTER_PATH = "_adapter_model_path"  # of `adapter_kwargs`, in which AutoModel says it of an adapter alone
WHOLE = "model"  # the part that is all of a checkpoint
NEEDS_PEFT = "{} holds an adapter, which needs peft: pip install peft"


def named_bases(source, kwargs):
    """
    Which models a checkpoint leaves the weights to.

    Args:
        source (`str`): a folder or a Hub id; None where there is no checkpoint.
        kwargs (`dict`): of `from_pretrained`; `base_models` among them replaces what the checkpoint names.

    Returns: `dict[str, str]`, by part; empty of a checkpoint that holds all its weights, and where there is none.
    """
    if source is None:
        return {}
    try:
        stored = PreTrainedConfig.get_config_dict(source, **_source_options(kwargs))[0].get("base_models")
    except (OSError, ValueError):
        return {}  # an adapter alone, or what transformers has an error for
    # AutoModel has put a keyword into the config.
    given = kwargs.get("base_models") or getattr(kwargs.get("config"), "base_models", None) or {}
    if not isinstance(stored, dict):
        return {}
    # A dot is from the checkpoint's folder where that says so, and from here where the caller does.
    here = {part: os.path.abspath(name) for part, name in given.items() if name[:1] == "." and name != stored.get(part)}
    return stored | given | here


def is_adapter_alone(folder):
    """Whether a folder holds an adapter and nothing else of a checkpoint."""
    return (Path(folder) / ADAPTER).is_file() and not (Path(folder) / CONFIG_NAME).is_file()


def on_its_base(folder, kwargs):
    """
    What to load in the place of a folder with an adapter alone, such as a checkpoint of a run, and with which keywords
    of `from_pretrained`: where its base names bases itself that base, else the folder.

    Returns: `tuple[str, dict]`.
    """
    base = json.loads((Path(folder) / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not named_bases(base, {}):
        return folder, kwargs
    return base, kwargs | {"adapter_kwargs": (kwargs.get("adapter_kwargs") or {}) | {ADAPTER_PATH: str(folder)}}


def load_on_bases(model_class, source, bases, kwargs, with_adapter=True):
    """
    Loads a checkpoint whose weights are partly elsewhere, with its adapter, if it has one.

    Args:
        model_class (`type`): [`C3Model`], from wherever it was loaded.
        source (`str`): the checkpoint, a folder or a Hub id; its adapter may be elsewhere, see `on_its_base`.
        bases (`dict[str, str]`): see `named_bases`.
        kwargs (`dict`): of `from_pretrained`.
        with_adapter (`bool`): False for what the adapter goes on.

    Returns: as `from_pretrained`.

    Raises:
        OSError: a base that cannot be loaded; the message names it.
        ValueError: a base of another architecture, or that goes on this checkpoint itself.
    """
    options, kwargs = _source_options(kwargs), dict(kwargs)
    _check_ends(source, bases, options)
    adapter_options = {"token": kwargs.get("token")} | (kwargs.pop("adapter_kwargs", None) or {})
    adapter = adapter_options.pop(ADAPTER_PATH, None) or str(source)
    for name in options:
        kwargs.pop(name)
    fields = {name: kwargs.pop(name) for name in OWN_FIELDS if name in kwargs} | {"base_models": bases}
    config = kwargs.pop("config", None)
    if config is None:
        config = model_class.config_class.from_pretrained(source, **options, **fields)
    if kwargs.get("dtype") in (None, "auto"):
        kwargs["dtype"] = config.dtype or "auto"
    places = {}
    state = {} if WHOLE in bases else load_file(cached_file(source, SAFE_WEIGHTS_NAME, **options))
    for part, name in bases.items():
        at, same = _place(name, source, options)
        base = _base(model_class, part, at, source, _shared(options) | same | {"dtype": kwargs["dtype"]})
        places[part] = at if not same else name
        own, prefix = (config, "") if part == WHOLE else (getattr(config, f"{part}_config"), f"{part}.")
        kind, wanted = base.config.model_type, own.model_type
        if kind != wanted:
            raise ValueError(f"{source} goes on a {wanted} model as its {part}, but {name} is a {kind} model.")
        state |= {prefix + key: each for key, each in base.state_dict().items()}
    # That of transformers, to which ours is on its way.
    loaded = PreTrainedModel.from_pretrained.__func__(model_class, None, config=config, state_dict=state, **kwargs)
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    # Folders as they are found from everywhere, since the model may be saved elsewhere.
    model.config.base_models = places
    model._base_config = base.config if WHOLE in bases else None
    model.name_or_path = model.config.name_or_path = str(source)
    model.generation_config = GenerationConfig.from_pretrained(source, **options)
    file = posixpath.join(options.get("subfolder", "") if adapter == str(source) else "", ADAPTER)
    if with_adapter and has_file(adapter, file, **{key: options[key] for key in options if key != "subfolder"}):
        if not is_peft_available():
            raise ImportError(NEEDS_PEFT.format(adapter))
        model.load_adapter(adapter, adapter_kwargs=options | adapter_options, dtype=model.dtype)
    return loaded


def save_without_bases(model, folder):
    """
    Writes the config, the code, and those weights of a model that are not of its `config.base_models`.

    Args:
        model ([`C3Model`]): with adapters or without, which are not written.
        folder (`PathLike`): where to.
    """
    folder, state, bases = Path(folder), {}, model.config.base_models
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in model.state_dict().items():
        # Of a part that an adapter trains in full, that before.
        if not holds_bases([name], bases) and ".modules_to_save." not in name:
            state[name.replace(".original_module.", ".")] = weights.contiguous()
    model.config.architectures, model.config.dtype = [type(model).__name__], model.dtype
    if model._auto_class is not None:
        custom_object_save(model, folder, config=model.config)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    if state:
        save_file(state, folder / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})


def holds_bases(state, bases):
    """Whether the weights of named parts are among those, by name, that are to be saved; None is all of a model."""
    return state is None or WHOLE in bases or any(name.split(".")[0] in bases for name in state)


def _check_ends(source, bases, options, above=()):
    """Raises `ValueError` where a checkpoint goes on itself, be it by way of others; `above` go on it."""
    own = _whereabouts(source, options)
    for part, name in bases.items():
        at, same = _place(name, source, options)
        if is_adapter_alone(at):
            at = on_its_base(at, {})[0]
        found = _whereabouts(at, same)
        if found == own:
            raise ValueError(f"{source} names itself as its {part}: set base_models in its config.json right.")
        if found in above:
            raise ValueError(
                f"{source} goes on {name} as its {part}, and that on {source} in turn: set base_models in the "
                "config.json of one of them right."
            )
        base_options = _shared(options) | same
        _check_ends(at, named_bases(at, base_options), base_options, (*above, own))


def _whereabouts(source, options):
    """What is the same for two ways to name one checkpoint."""
    folder = Path(source, options.get("subfolder", ""))
    if folder.is_dir():
        return str(folder.resolve())
    return str(source), options.get("subfolder", ""), options.get("revision")


def _shared(options):
    """What of the options of a checkpoint holds for its bases, too."""
    return {name: options[name] for name in ("cache_dir", "token", "local_files_only") if name in options}


def _place(name, source, options):
    """Where a base is, and keywords to load it with; a name that begins with a dot is in the same repository."""
    if not name.startswith("."):
        return name, {}
    own = Path(source, options.get("subfolder", ""))
    if own.is_dir():
        return str((own / name).resolve()), {}
    subfolder = posixpath.normpath(posixpath.join(options.get("subfolder", ""), name))
    if subfolder.split("/")[0] == "..":
        raise ValueError(f"{source} goes on {name}, which is outside of its repository.")
    same = {key: options[key] for key in ("revision",) if key in options}
    return str(source), same | {"subfolder": "" if subfolder == "." else subfolder}


def _base(model_class, part, name, source, options):
    """The model that a part is."""
    try:
        if part == WHOLE:
            return model_class.from_pretrained(name, **options)
        if part == "decoder":
            return AutoModelForCausalLM.from_pretrained(name, **options)
        is_c3 = PreTrainedConfig.get_config_dict(name, **_source_options(options))[0].get("model_type") == "c3"
        return encoder_and_queries((model_class if is_c3 else AutoModel).from_pretrained(name, **options))[0]
    except OSError as error:
        raise OSError(
            f"{source} goes on the {part} {name}, which cannot be loaded: {printable_lines(error)} If it is elsewhere, "
            f'say where: from_pretrained(…, base_models={{"{part}": …}}).'
        ) from error


def _source_options(kwargs):
    return {name: kwargs[name] for name in SOURCE_OPTIONS if kwargs.get(name)}


__all__ = [
    "NEEDS_PEFT",
    "WHOLE",
    "holds_bases",
    "is_adapter_alone",
    "load_on_bases",
    "named_bases",
    "on_its_base",
    "save_without_bases",
]
