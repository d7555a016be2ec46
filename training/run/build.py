"""The model and processor that a run starts with."""

import json
from itertools import chain
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import find_adapter_config_file

from c3.configuration_c3 import C3Config
from c3.modeling_c3 import C3Model
from c3.processing_c3 import SETTINGS, C3Processor
from c3.trained_encoders_c3 import pair_fields
from c3.training.checks import RecipeError, loading
from c3.training.data.sources import train_texts
from c3.training.data.tokenizer import train_tokenizer
from c3.training.publish.plain_model import without_zero3
from c3.training.recipe.origin_keys import change_config

from .checkpoints import COMPLETE


def build(recipe, start_from=None):
    """
    The recipe's model with its processor: new, from two causal language models, or from a C3 checkpoint.

    Args:
        recipe ([`Recipe`]): of one stage.
        start_from (`str`, *optional*): the folder of the stage before, instead of what the recipe starts from.

    Raises:
        RecipeError: a model that cannot be loaded, or cannot take the recipe's curriculum.
    """
    dtype = getattr(torch, recipe.dtype)
    attention = {} if recipe.attn_implementation is None else {"attn_implementation": recipe.attn_implementation}
    if recipe.attn_implementation == "cpu_matmul":
        import c3.training.devices.cpu_attention  # noqa: F401  registers itself
    if start_from is not None or recipe.init_from is not None:
        # In the dtype asked for: finished models are bfloat16, in which small updates would be rounded away.
        with loading(f"init_from: {start_from or recipe.init_from}"):
            model = C3Model.from_pretrained(start_from or recipe.init_from, dtype=dtype, **attention)
            processor = model.processor  # read now: without a tokenizer there is nothing to train on
            processor.warn_of_loss()
        change_config(model.config, recipe.init_config)
        model.processor = like(processor, model.config)
        model.config.reconstruction_only &= recipe.reconstruction_only
    elif recipe.init_from_pair is not None:
        pair_config_fields(recipe.init_from_pair)  # first, because its errors name the one that is at fault
        fields = {"reconstruction_only": recipe.reconstruction_only} | recipe.init_from_pair
        with loading("init_from_pair"):
            model = C3Model.from_encoder_decoder_pretrained(**fields, dtype=dtype, **attention)
    else:
        tokenizer = make_tokenizer(recipe)
        names = ("pad_token_id", "eos_token_id", "bos_token_id")
        config = recipe.model_config(len(tokenizer), **{name: getattr(tokenizer, name) for name in names})
        # Under ZeRO-3 only the backbones would be divided, and drawn from other random numbers; DeepSpeed divides it
        # later.
        with loading("model"), without_zero3():
            model = C3Model._from_config(config, dtype=dtype, **attention)
        model.processor = C3Processor.from_config(config, tokenizer)
    # Such an adapter is for the weights as they were.
    model.config.prompt_adapter = None
    recipe.check_model(model.config)
    return model.train()


def start_config(recipe):
    """
    The [`C3Config`] that a run begins with from the checkpoint that `init_from` names.

    Raises:
        RecipeError: it cannot be loaded, or is an adapter, with which a run could be started but not saved.
    """
    with loading(f"init_from: {recipe.init_from}"):
        if find_adapter_config_file(recipe.init_from) is not None:
            raise ValueError("it is an adapter: merge it into its base first (c3 merge-lora)")
        config = C3Config.from_pretrained(recipe.init_from)
    config.prompt_adapter = None  # as `build` leaves it
    return change_config(config, recipe.init_config)


def has_own_config(recipe, config):
    """Whether the [`C3Config`] of a run's model, as `build` makes it, is another one than its checkpoint's."""
    if recipe.init_from is None:
        return False
    stored = C3Config.from_pretrained(recipe.init_from)
    return bool(recipe.init_config) or stored.reconstruction_only != config.reconstruction_only


def like(processor, config):
    """A [`C3Processor`] with the tokenizers of another and the settings of a [`C3Config`]."""
    return C3Processor(
        processor.tokenizer, processor.context_tokenizer, **{name: getattr(config, name) for name in SETTINGS}
    )


def pair_config_fields(pair):
    """
    Fields of the [`C3Config`] of the key `init_from_pair`, with the configs of its two models.

    Raises:
        RecipeError: a model that cannot be loaded, or a field that contradicts one; the message names the key.
    """
    fields, configs = dict(pair), []
    for part in ("encoder", "decoder"):
        name = fields.pop(part)
        with loading(f"init_from_pair.{part}: {name}"):
            configs.append(AutoConfig.from_pretrained(name))
    try:
        return pair_fields(*configs, fields)
    except ValueError as error:
        raise RecipeError(f"init_from_pair: {error}") from error


def make_tokenizer(recipe):
    """The recipe's tokenizer; one that is trained is kept in the output folder, for when the run is started again."""
    if not isinstance(recipe.tokenizer, dict):
        with loading(f"tokenizer: {recipe.tokenizer}"):
            return AutoTokenizer.from_pretrained(recipe.tokenizer)
    folder = Path(recipe.output_dir) / "tokenizer"
    marker, options = folder / COMPLETE, json.dumps(recipe.tokenizer)
    if not marker.is_file():
        texts = [train_texts(recipe, source)["text"] for source in recipe.train_data]
        train_tokenizer(chain.from_iterable(texts), **recipe.tokenizer).save_pretrained(folder)
        marker.write_text(options, encoding="utf-8")
    elif marker.read_text(encoding="utf-8") not in ("", options):
        raise RecipeError(f"{folder} was trained with other options: choose another output_dir, or delete it.")
    return AutoTokenizer.from_pretrained(folder)
