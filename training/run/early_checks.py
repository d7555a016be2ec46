"""What would end a run minutes or hours after its start, found before: `train` and `--dry-run` look for the same."""

import os
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from c3.modeling_c3 import C3Model
from c3.support.loading import find_source
from c3.training.checks import RecipeError, loading
from c3.training.data.corpus import Corpus
from c3.training.data.documents import check_source
from c3.training.data.sources import GeneratedSource
from c3.training.devices.sharding import deepspeed_config
from c3.training.optim.optimizers import make_optimizer, muon_groups
from c3.training.optim.parts import set_trainable
from c3.training.publish.plain_model import without_zero3
from c3.training.recipe.recipe_changes import check_recipe_changes
from c3.training.recipe.stage_keys import in_stage
from c3.whole_files_c3 import ensure_writable

from .checkpoints import COMPLETE, last_whole_checkpoint, layout_of
from .resuming import check_batch_layout

COMPILERS = ("g++", "clang++", "c++", "cl")


def check_output_dir(folder):
    """Raises `RecipeError` unless a folder, `str`, can be written to, or made."""
    path = Path(folder).absolute()
    existing = next(each for each in (path, *path.parents) if each.exists())
    if not existing.is_dir():
        raise RecipeError(f"output_dir: {existing} is a file; choose another folder.")
    try:
        ensure_writable(existing / ".writable")  # a name that no folder here has
    except OSError as error:
        said = error.strerror
        raise RecipeError(f"output_dir: {existing} cannot be written to ({said}); choose another folder.") from error


def check_hub(recipe):
    """
    Raises `RecipeError` where a run ([`Recipe`]) needs the Hub, which does not answer, for what its cache does not
    hold. The libraries would ask again and again, for half a minute and more.
    """
    recipe = recipe.stage_recipes()[0]  # it is the same in all of them
    pair = recipe.init_from_pair or {}
    models = {"init_from": recipe.init_from, "tokenizer": recipe.tokenizer}
    models |= {f"init_from_pair.{part}": pair.get(part) for part in ("encoder", "decoder")}
    for where, name in models.items():
        if isinstance(name, str):
            with loading(f"{where}: {name}"):
                find_source(name, "")
    for key in ("train_data", "validation_data", "instruction_data"):
        for source in getattr(recipe, key):
            if isinstance(source, GeneratedSource) or check_source(source.path) or _is_cached(source.path):
                continue
            with loading(f"{key}: {source.path}"):
                find_source(source.path, "", ["README.md"], "dataset")


def _is_cached(dataset):
    """Whether `datasets` has prepared a dataset of the Hub before."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    owner, _, name = dataset.rpartition("/")
    folder = f"{owner}___" if owner else ""
    return (Path(config.HF_DATASETS_CACHE) / (folder + camelcase_to_snakecase(name))).is_dir()


def check_changes(recipe):
    """Raises `RecipeError` where the last checkpoint of a stage ([`Recipe`]) was written by another recipe."""
    last, layout = _last_checkpoint(recipe)
    finished = (Path(recipe.output_dir) / "finished" / COMPLETE).is_file()
    if last is not None:
        check_recipe_changes(last, layout, recipe, lambda message: None, finished)


def check_layout(recipe, args):
    """
    Raises `LaunchError` where as many processes could not go on from the last checkpoint of a stage.

    Args:
        recipe ([`Recipe`]): of the stage.
        args: of `TrainingArguments`, what `check_batch_layout` takes.
    """
    last, layout = _last_checkpoint(recipe)
    if last is not None:
        check_batch_layout(last, layout, args)


def _last_checkpoint(recipe):
    """The last whole checkpoint of a stage, and its layout; None where there is none, or one that is damaged."""
    last = last_whole_checkpoint(recipe.output_dir)
    try:
        return last, last and layout_of(last)
    except (ValueError, KeyError):
        return None, None


def check_compiler(recipe, device_type):
    """Raises `RecipeError` where `torch_compile` lacks what it compiles with on a kind of device, `cpu` or `cuda`."""
    if not recipe.torch_compile:
        return
    if device_type == "cpu" and not os.environ.get("CXX") and not any(map(shutil.which, COMPILERS)):
        raise RecipeError("torch_compile needs a C++ compiler, such as g++; install one, or set torch_compile: false.")
    if device_type == "cuda" and find_spec("triton") is None:
        raise RecipeError("torch_compile needs the package triton; install it, or set torch_compile: false.")


def check_optimizer(recipe, model):
    """
    Raises `RecipeError` where the optimizer of a stage cannot train the model, whose weights are not needed.

    Args:
        recipe ([`Recipe`]): of one stage.
        model ([`C3Model`] or `peft.PeftModel`): with what is trained marked so.
    """
    options = recipe.optimizer | {"learning_rates": recipe.learning_rates}
    try:
        if deepspeed_config(recipe.training) is None:
            make_optimizer(model, **options)
        elif options.pop("name") == "muon":
            muon_groups(model, **options)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def check_following_stages(stages, model, corpus):
    """
    Raises `RecipeError` where stages would find only when it is their turn that they cannot train.

    Args:
        stages (`list[Recipe]`): all but the first, which has its turn now.
        model ([`C3Model`]): of the first one.
        corpus ([`Corpus`]): of the first one.
    """
    if not stages:
        return
    with torch.device("meta"), without_zero3():
        model = C3Model(model.config)
    texts, known = corpus if corpus.recipe.text_objectives else None, _row_limits(corpus.recipe)
    for stage in stages:
        with in_stage(Path(stage.output_dir).name):
            set_trainable(model, stage.trainable)
            check_optimizer(stage, model)
            if stage.text_objectives:
                texts = texts or _read(stage, stage.text_objectives[0], corpus)
                texts.check_texts(stage)
            for limits in _row_limits(stage) - known:
                _read(stage, limits[0], corpus).check_rows()
                known.add(limits)


def _row_limits(recipe):
    """What decides whether the rows of objectives are enough for a stage, and for which others they are: a `set`."""
    limits = recipe.conversation_limits, recipe.tokens_per_batch, *(each.longest_context for each in recipe.curriculum)
    return {(name, *limits) for name in recipe.row_objectives}


def _read(stage, objective, corpus):
    """The data of one objective of a stage, for the model that a [`Corpus`] is for."""
    recipe = replace(stage, objectives={objective: 1.0})
    return Corpus(recipe, corpus.processor, lambda message: None, positions=corpus.positions)
