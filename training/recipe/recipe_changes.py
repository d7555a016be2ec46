"""What of a recipe may be another one when a run is started again: only what leaves the steps so far as they were."""

import inspect
import json
import math
from dataclasses import MISSING, asdict, fields
from pathlib import Path

from transformers import TrainingArguments

from c3.training.checks import RecipeError
from c3.training.optim.lora import LoraSettings
from c3.training.optim.optimizers import OPTIMIZERS

from .training_keys import learning_rate_schedule

# What data, order, model and updates depend on.
KEYS = (
    "init_from",
    "init_config",
    "init_from_pair",
    "model",
    "tokenizer",
    "dtype",
    "crlf_documents",
    "continuation_length",
    "max_target_length",
    "max_context_length",
    "learning_rates",
    "tokens_per_batch",
    "dropout_windows",
    "dropout_halved_above",
    "random_windows",
)
TRAINING_KEYS = (
    "max_steps",
    "seed",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "max_grad_norm",
    "bf16",
    "fp16",
    "neftune_noise_alpha",
)
# What changes by rounding alone.
ROUNDING = ("attn_implementation", "torch_compile", "liger_kernel")
STEPS = "training.max_steps"


def recipe_notes(recipe):
    """`dict`: what a checkpoint notes of the [`Recipe`] of its stage, keys and values that JSON can hold."""
    notes = {key: getattr(recipe, key) for key in (*KEYS, *ROUNDING)}
    notes["train_data"] = [_source(each) for each in recipe.train_data]
    notes["instruction_data"] = [_source(each) for each in recipe.instruction_data]
    # As pairs, because draws depend on their order.
    notes["objectives"] = [pair for pair in recipe.objectives.items() if pair[1]]
    notes["trainable"] = sorted(recipe.trainable)
    notes["curriculum"] = [asdict(phase) for phase in recipe.curriculum]
    notes["lora"] = None if recipe.lora is None else asdict(recipe.lora)
    # A default that is written out is no change.
    parameters = inspect.signature(OPTIMIZERS[recipe.optimizer["name"]]).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.name not in ("model", "learning_rates")}
    notes["optimizer"] = defaults | recipe.optimizer
    for key in TRAINING_KEYS:
        notes[f"training.{key}"] = recipe.training.get(key, TrainingArguments.__dataclass_fields__[key].default)
    return json.loads(json.dumps(notes, default=str))


def check_recipe_changes(checkpoint, then, recipe, say, finished=False):
    """
    Args:
        checkpoint (`str`): the folder.
        then (`dict`): what `checkpoints.layout_of` has of it; older ones have no `recipe`, and are not checked.
        recipe ([`Recipe`]): of the stage that is to go on from it.
        say (`Callable[[str], None]`): is told of changes that do no harm.
        finished (`bool`): whether the stage has ended, so that more steps would not be trained.

    Raises:
        RecipeError: a key has another value, and with it the losses so far would have been others.
    """
    noted, now = then.get("recipe"), recipe_notes(recipe)
    if not noted:
        return
    # A key of the recipe that is not noted is younger than the checkpoint, and had its default's effect then.
    before = {key: _default(recipe, key, now) for key in now} | noted
    # Older ones note what an optimizer was not given, too.
    before["optimizer"] = {key: value for key, value in before["optimizer"].items() if value is not None}
    # And phases and adapters without the keys that are younger than they are.
    before["curriculum"] = [{"longest_context": None} | phase for phase in before["curriculum"]]
    before["lora"] = before["lora"] and asdict(LoraSettings()) | before["lora"]
    changed = [key for key in now if before[key] != now[key]]
    for key in [each for each in changed if each in ROUNDING]:
        say(f"{_change(key, before, now)}: from here on the losses may differ by rounding.")
        changed.remove(key)
    if changed == [STEPS] and not finished and _same_so_far(checkpoint, then, recipe):
        say(f"{_change(STEPS, before, now)}: the steps so far are the same with both, so the run goes on.")
        return
    if changed:
        raise RecipeError(
            f"{checkpoint} was written by another recipe ({', '.join(_change(key, before, now) for key in changed)}): "
            "the losses would be those of neither. Set back what has changed, or choose another output_dir, with "
            f"init_from: {checkpoint} to start from its weights."
        )


def _default(recipe, key, now):
    """The default of a key of the recipe; of what is none, or has no plain default, the value that it has now."""
    defaults = {field.name: field.default for field in fields(recipe) if field.default is not MISSING}
    return defaults.get(key, now[key])


def _same_so_far(checkpoint, then, recipe):
    """Whether the number of steps that a run was to have made no difference up to its checkpoint."""
    step = int(Path(checkpoint).name.removeprefix("checkpoint-"))
    lengths = then["recipe"][STEPS], recipe.training["max_steps"]
    if step > lengths[1]:
        return False
    factors = [learning_rate_schedule(recipe.training, length) for length in lengths]
    if factors[0] is not None and any(factors[0](each) != factors[1](each) for each in range(step + 1)):
        return False
    per_step = then["processes"] * then["gradient_accumulation_steps"]
    begun = [
        [min(math.ceil(phase.until * length * per_step), step * per_step) for phase in recipe.curriculum[:-1]]
        for length in lengths
    ]
    return begun[0] == begun[1]


def _source(source):
    """
    A [`DataSource`] or `GeneratedSource` as keys and values; a file may have been moved since, but not have changed in
    size. Older checkpoints know no `keep`.
    """
    path = Path(source.path)
    notes = {key: value for key, value in asdict(source).items() if (key, value) != ("keep", None)}
    return notes | ({"path": path.name, "bytes": path.stat().st_size} if path.is_file() else {})


def _change(key, before, now):
    values = [json.dumps(each[key], ensure_ascii=False) for each in (before, now)]
    return f"{key}: {values[0]} then, {values[1]} now" if max(map(len, values)) <= 80 else key
