"""
LoRA (arXiv 2106.09685) for C3, with PEFT: low-rank adapters on the encoder, the decoder or both, while the queries, the
projector and the mask embedding are trained in full, the first two unless `train_queries` is False. Everything else is
frozen.

    model = add_lora(C3Model.from_pretrained("org/c3"), LoraSettings(r=16, parts=["decoder"]))
    ...                                 # train it: a PeftModel, with compress, expand and generate
    save_adapter(model, "adapter")      # small: no frozen weights
    C3Model.from_pretrained("adapter")  # the base with its adapter; so do AutoModel and PeftModel.from_pretrained

A saved adapter holds the low-rank matrices and the parts trained in full. On a bfloat16 base `PeftModel` keeps the
matrices in float32 and the other two do not, so that their latents differ by rounding.

Latents belong to a base and an adapter together, unless this is on the decoder alone and `train_queries` is False: then
base and adapted model read each other's. The model that the two are merged into (`merge_lora.py`) differs from them by
rounding, and counts as another one: it refuses their latents, with the names of both. Compress again, or pass
`allow_mismatch=True`, which does no harm here.
"""

import json
import math
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from c3.base_models_c3 import WHOLE, save_without_bases
from c3.configuration_c3 import OWN_FIELDS, C3Config
from c3.quoting_c3 import printable, quoted
from c3.support.errors import pip_install
from c3.whole_files_c3 import whole_folder

ADAPTED_PARTS = ("encoder", "decoder")
ALL_LINEAR = "all-linear"
MAKING_LATENTS = ("context_queries", "projector")
TRAINED_IN_FULL = (*MAKING_LATENTS, "mask_embedding")
PEFT_PREFIX = "base_model.model."  # of all names in a saved adapter
NO_PEFT = f"LoRA needs peft, which is not installed: {pip_install('train')}"


@dataclass
class LoraSettings:
    """
    The key `lora` of a recipe.

    Args:
        r (`int`): rank of the adapters.
        alpha (`float`): their scale: what they add is multiplied by alpha / r (alpha / sqrt(r) with `use_rslora`).
        dropout (`float`): share of an adapter's inputs that are dropped in training, from 0 to below 1.
        parts (`list[str]` or `str`): which models get adapters: encoder, decoder or both.
        train_queries (`bool`): whether queries and projector are trained as well. Without them an adapter on the
            decoder alone leaves latents as they are: it reads those of its base, and its base reads its own.
        target_modules (`list[str]` or `str`): names of the linear layers that get one, for example [q_proj, v_proj], or
            "all-linear": all but the language model's head.
        train_norms (`bool`): whether the norms of these models are trained in full too (arXiv 2312.11420). Where
            queries and keys are normed (Qwen3), they bound how sharp attention gets, whatever adapters do.
        use_rslora (`bool`): rank-stabilised scale (arXiv 2312.03732).
        use_dora (`bool`): weight-decomposed adapters (arXiv 2402.09353).
        init_from (`str`, *optional*): folder of an adapter with these settings whose weights are trained on, such as a
            checkpoint's `prompt_adapter`.

    Raises:
        ValueError: a value that is not allowed, or an adapter of another rank or scale; the message names the key.
    """

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    parts: list = field(default_factory=lambda: list(ADAPTED_PARTS))
    train_queries: bool = True
    target_modules: list | str = ALL_LINEAR
    train_norms: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    init_from: str | None = None

    def __post_init__(self):
        if not isinstance(self.r, int) or isinstance(self.r, bool) or self.r < 1:
            raise ValueError(f"lora.r must be an integer of 1 or more, not {self.r!r}.")
        if not _is_number(self.alpha) or self.alpha <= 0:
            raise ValueError(f"lora.alpha must be a number above 0, not {self.alpha!r}.")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must be a number from 0 to below 1, not {self.dropout!r}.")
        parts = [self.parts] if isinstance(self.parts, str) else self.parts
        if not _are_names(parts) or not set(parts) <= set(ADAPTED_PARTS):
            raise ValueError(f"lora.parts must list {' or '.join(ADAPTED_PARTS)} or both, not {self.parts!r}.")
        self.parts = [part for part in ADAPTED_PARTS if part in parts]
        if self.target_modules != ALL_LINEAR and not _are_names(self.target_modules):
            raise ValueError(
                f"lora.target_modules must be {ALL_LINEAR} or a list of names such as [q_proj, v_proj], "
                f"not {self.target_modules!r}."
            )
        for name in ("train_queries", "train_norms", "use_rslora", "use_dora"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"lora.{name} must be true or false, not {getattr(self, name)!r}.")
        if self.init_from is not None:
            self._check_adapter()

    def _check_adapter(self):
        """Raises `ValueError` where `init_from` is no adapter, or one whose weights would mean something else here."""
        file = Path(str(self.init_from), "adapter_config.json")
        if not file.is_file():
            raise ValueError(f"lora.init_from must be the folder of an adapter; there is no {file}.")
        stored = json.loads(file.read_text(encoding="utf-8"))
        has_norms = any("norm" in name for name in stored.get("modules_to_save") or ())
        if has_norms and not self.train_norms:
            raise ValueError("lora.init_from holds trained norms: set lora.train_norms: true, or leave init_from out.")
        for key, name in (("r", "r"), ("alpha", "lora_alpha"), ("use_rslora", "use_rslora"), ("use_dora", "use_dora")):
            if stored.get(name, False) != getattr(self, key):
                given = f"lora.{key} is {getattr(self, key)!r}, but that of lora.init_from is {stored.get(name)!r}"
                raise ValueError(f"{given}: set the same, or leave init_from out.")


def add_lora(model, settings):
    """
    Attaches new adapters, in place. They and the parts that are trained in full are float32 whatever the frozen weights
    are, because bfloat16 would round small updates away.

    Args:
        model (`C3Model`): without adapters; assign its `processor` before, not to what is returned.
        settings ([`LoraSettings`]): the adapters' settings.

    Returns:
        `peft.PeftModel`: its `compress`, `expand`, `generate` and `forward` are the model's.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: a layer that a part does not have, norms without weights, or a model that has adapters already.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError(NO_PEFT) from error
    if getattr(model, "peft_config", None):
        raise ValueError("This model has adapters already: merge them first (c3 merge-lora).")
    frozen = () if settings.train_queries else MAKING_LATENTS
    parts = [name for name in TRAINED_IN_FULL if getattr(model, name) is not None and name not in frozen]
    norms = _norms(model, settings.parts) if settings.train_norms else []
    parts += norms
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=target_pattern(model, settings),
        modules_to_save=parts,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
    )
    adapted = get_peft_model(model, config)
    if Path(model.name_or_path).is_dir():
        # The adapter must find its base from any other folder too.
        config.base_model_name_or_path = os.path.abspath(model.name_or_path)
    for name in parts:
        model.get_submodule(name).modules_to_save.float()
    for name in norms:
        # Between layers of another dtype, which it gives its numbers back in.
        norm = model.get_submodule(name)
        for each in norm.modules_to_save.values():
            each.register_forward_pre_hook(_in_float32)
        norm.register_forward_hook(_in_dtype_of_input)
    if settings.init_from is not None:
        _take_weights(adapted, settings.init_from, norms)
    return adapted


def _norms(model, parts):
    """Full names, `list[str]`, of the layers of these parts that hold no more than one number for each of a width."""
    # Under ZeRO-3 a parameter is empty until it is gathered, and keeps its shape elsewhere.
    shapes = (
        (name, [len(getattr(each, "ds_shape", each.shape)) for each in module.parameters()])
        for name, module in model.named_modules()
    )
    found = [name for name, dims in shapes if dims in ([1], [1, 1]) and name.partition(".")[0] in parts]
    if not found:
        raise ValueError(f"lora.train_norms: norms of the {' and the '.join(parts)} have no weights: leave it out.")
    return found


def _in_float32(module, inputs):
    return inputs[0].float(), *inputs[1:]


def _in_dtype_of_input(module, inputs, output):
    return output.to(inputs[0].dtype)


def _take_weights(adapted, folder, norms):
    """
    Puts an adapter's weights into a new one, whose norms begin as the base's where that has none; `ValueError` where it
    is on other layers.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    ours = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    begun = {name: each for name, each in ours.items() if name.removeprefix(PEFT_PREFIX).rpartition(".")[0] in norms}
    weights = begun | load_peft_weights(str(folder), device="cpu")
    shapes = [{name: tuple(each.shape) for name, each in held.items()} for held in (ours, weights)]
    if odd := sorted(dict(shapes[0].items() ^ shapes[1].items())):
        raise ValueError(
            f"lora.init_from: {folder} holds an adapter on other layers or parts than lora asks for, first "
            f"{quoted(odd[0])}."
        )
    set_peft_model_state_dict(adapted, weights)


def target_pattern(model, settings):
    """
    Regular expression of the full names of the layers that get adapters. Embeddings and the head are never among them,
    since they may be one table for both parts.

    Raises:
        ValueError: a name that a part has no linear layer of.
    """
    names = set() if settings.target_modules == ALL_LINEAR else set(settings.target_modules)
    head = model.get_output_embeddings()
    for part in settings.parts:
        modules = getattr(model, part).named_modules()
        linear = {name.rpartition(".")[2] for name, each in modules if isinstance(each, nn.Linear) and each is not head}
        if settings.target_modules == ALL_LINEAR:
            names |= linear
        elif unknown := sorted(names - linear):
            raise ValueError(
                f"lora.target_modules: the {part} has no linear layer {', '.join(unknown)}; "
                f"it has {', '.join(sorted(linear))}."
            )
    return rf"({'|'.join(settings.parts)})\.(.*\.)?({'|'.join(map(re.escape, sorted(names)))})"


def save_adapter(model, folder, **kwargs):
    """
    Writes adapter_model.safetensors, adapter_config.json and the processor.

    The config names the base by its Hub id or its folder. With a folder the adapter loads on this machine alone, but
    where that is a `save_base` of named models: then what lies there is written beside the adapter, which loads
    wherever these models are.

    Args:
        model (`peft.PeftModel`): what `add_lora` returned.
        folder (`str`): where to.
        **kwargs: as for `PeftModel.save_pretrained`, for example `state_dict` or `is_main_process`.
    """
    # Not "auto", which looks for the base on the Hub to find out whether its vocabulary has grown.
    model.save_pretrained(str(folder), **{"save_embedding_layers": False} | kwargs)
    if kwargs.get("is_main_process", True):
        if model.config.base_models:
            shutil.copytree(model.get_base_model().name_or_path, folder, dirs_exist_ok=True)
        model.processor.save_pretrained(folder)


def load_adapter(model, adapter, base):
    """
    Attaches a saved adapter, in place, and sees to it that each has what the other is for.

        adapted = load_adapter(C3Model.from_pretrained("org/c3"), "adapter", "org/c3")

    Args:
        model (`C3Model`): without adapters.
        adapter (`str`): folder or Hub id of what `save_adapter` wrote.
        base (`str`): what messages call the model.

    Returns:
        `peft.PeftModel`, not to be trained on.

    Raises:
        ImportError: PEFT is not installed.
        OSError, ValueError: no adapter, or one that does not fit the model.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise ImportError(NO_PEFT) from error
    misfit = f"{adapter} does not fit {printable(base)}"
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter))
    except KeyError as error:
        raise ValueError(f"{misfit}: {quoted(error.args[0])} is in one of them only.") from error
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{misfit}: {printable(str(error).splitlines()[-1].strip())}") from error
    ours = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    # PEFT skips what has no counterpart.
    if odd := sorted(set(ours) ^ set(load_peft_weights(str(adapter), device="cpu"))):
        raise ValueError(f"{misfit}: {quoted(odd[0])} is in one of them only.")
    return adapted


def save_base(model, folder, base_models=None):
    """
    Writes a model that is in no checkpoint yet, such as one put together from two language models, or one that has
    another config than its checkpoint, so that adapters on it can name their base. A folder that is there already is
    left as it is; one that is there is whole.

    Args:
        model (`C3Model`): without adapters.
        folder (`str`): where to; as an absolute path the model's `name_or_path` from now on.
        base_models (`dict[str, str]`, *optional*): what its encoder and its decoder, or all of it, the `model`, are:
            folders or Hub ids, whose weights are then not written, see `base_models_c3.py`.

    Raises:
        ValueError: the folder holds a model with other settings.
    """
    folder = Path(os.path.abspath(folder))
    if WHOLE in (base_models or {}):
        model._base_config = C3Config.from_pretrained(base_models[WHOLE])
    if base_models:
        parts = [part for part in (*ADAPTED_PARTS, WHOLE) if part in base_models]
        model.config.base_models = {part: _whole_name(base_models[part]) for part in parts}
    if folder.is_dir():
        stored = C3Config.from_pretrained(folder)
        names = [name for name in OWN_FIELDS if name not in ("encoder_config", "decoder_config")]
        if odd := [name for name in names if getattr(stored, name) != getattr(model.config, name)]:
            raise ValueError(f"{folder} has another {odd[0]}: choose another output folder, or delete it.")
    else:
        with whole_folder(folder) as unfinished:
            if base_models:
                save_without_bases(model, unfinished)
                model.processor.save_pretrained(unfinished)
            else:
                model.save_pretrained(unfinished)
    model.name_or_path = model.config.name_or_path = str(folder)


def _whole_name(name):
    """A Hub id as it is, a folder as an absolute path."""
    return os.path.abspath(name) if os.path.isdir(name) else name


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_names(value):
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) and each for each in value)
