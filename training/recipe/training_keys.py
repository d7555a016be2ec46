"""The key `training` of a recipe: keywords of `transformers.TrainingArguments`, checked before any are made."""

import math
from dataclasses import fields
from typing import get_args, get_type_hints

import torch
from transformers import SchedulerType, TrainingArguments, get_scheduler
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK as TRACKERS
from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from c3.support.cpu_instructions import bfloat16_pays
from c3.training.checks import RecipeError, check_integer, check_number, reject_unknown

# Keywords of TrainingArguments that a recipe may give. Any other would have no effect here, or one that breaks what a
# run promises: that it goes on with the same losses when it is started again, and ends at once when it is told to.
ALLOWED = (
    # Steps and updates.
    "max_steps",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "average_tokens_across_devices",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "neftune_noise_alpha",
    "seed",
    "full_determinism",
    # Precision, memory and devices.
    "bf16",
    "fp16",
    "tf32",
    "activation_checkpointing",
    "activation_checkpointing_kwargs",
    "gradient_checkpointing",
    "gradient_checkpointing_kwargs",
    "torch_empty_cache_steps",
    "skip_memory_metrics",
    "use_cpu",
    "dataloader_num_workers",
    # Several processes.
    "accelerator_config",
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "ddp_backend",
    "ddp_timeout",
    "ddp_find_unused_parameters",
    "ddp_bucket_cap_mb",
    "ddp_broadcast_buffers",
    "ddp_static_graph",
    # Evaluation and checkpoints.
    "eval_strategy",
    "eval_steps",
    "eval_delay",
    "eval_on_start",
    "metric_for_best_model",
    "load_best_model_at_end",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "save_on_each_node",
    # Logs and trackers.
    "logging_strategy",
    "logging_steps",
    "logging_first_step",
    "log_level",
    "log_level_replica",
    "log_on_each_node",
    "disable_tqdm",
    "debug",
    "report_to",
    "run_name",
    "project",
    "trackio_space_id",
    "trackio_bucket_id",
    "trackio_static_space_id",
)
# Those of which a recipe says the same elsewhere.
ELSEWHERE = {
    "output_dir": "output_dir",
    "per_device_train_batch_size": "tokens_per_batch",
    "auto_find_batch_size": "tokens_per_batch",
    "per_device_eval_batch_size": "evaluation",
    "do_eval": "training.eval_strategy",
    "num_train_epochs": "training.max_steps",
    "data_seed": "training.seed",
    "optim": "optimizer.name",
    "optim_args": "the keys of optimizer",
    "optim_target_modules": "trainable, or lora.target_modules,",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "adam_beta1": "optimizer.betas",
    "adam_beta2": "optimizer.betas",
    "adam_epsilon": "optimizer.eps",
    "torch_compile": "torch_compile",
    "torch_compile_backend": "torch_compile",
    "torch_compile_mode": "torch_compile",
    "use_liger_kernel": "liger_kernel",
    "liger_kernel_config": "liger_kernel",
    "resume_from_checkpoint": "init_from",
    "push_to_hub": "hub",
    "hub_model_id": "hub.repo_id",
    "hub_private_repo": "hub.private",
    "hub_revision": "hub.revision",
    "hub_strategy": "hub",
    "hub_always_push": "hub",
    "hub_token": "the environment variable HF_TOKEN",
}
WHERE_TO_LOOK = "training/recipe/training_keys.py lists what is"
CHOICES = {
    "lr_scheduler_type": SchedulerType,
    "logging_strategy": IntervalStrategy,
    "eval_strategy": IntervalStrategy,
    "save_strategy": SaveStrategy,
}
# Of training.accelerator_config; the others would change which batches there are.
ACCELERATOR_KEYS = ("non_blocking", "gradient_accumulation_kwargs", "use_configured_state")
STEPS = ("logging_steps", "eval_steps", "save_steps")
# Trackers of which transformers does not say so where they are installed, or not always.
NOT_LISTED = ("azure_ml", "flyte")
# Schedules that follow what is measured.
MEASURED_SCHEDULES = ("reduce_lr_on_plateau", "greedy")


def check_training(training):
    """
    Checks keywords of `TrainingArguments` that a stage would otherwise stumble over once it is reached.

    Args:
        training (`dict`): the recipe's.

    Returns: `dict`, the same with the strategies as strings, and with true or false for `bf16: auto`.

    Raises:
        RecipeError: a key or a value that is not allowed; the message names the key.
    """
    known = {each.name for each in fields(TrainingArguments) if each.init}
    for key in training:
        if key in ELSEWHERE:
            raise RecipeError(f"training.{key} has no effect in a recipe: set {ELSEWHERE[key]} instead.")
        if key in known and key not in ALLOWED:
            raise RecipeError(f"training.{key} is not supported by a recipe; {WHERE_TO_LOOK}.")
    # Other versions of transformers know fewer.
    reject_unknown("training", training, [key for key in ALLOWED if key in known])
    # YAML takes a bare `no` for false.
    training = {key: "no" if key.endswith("_strategy") and value is False else value for key, value in training.items()}
    check_integer("training.max_steps", training.get("max_steps"))
    if training.get("bf16") == "auto":
        training["bf16"] = bfloat16_pays(bool(training.get("use_cpu")))
    _check_kinds(training)
    for key, choices in CHOICES.items():
        allowed = [each.value for each in choices]
        if key in training and training[key] not in allowed:
            raise RecipeError(f"training.{key} must be one of {', '.join(allowed)}, not {training[key]!r}.")
    accelerator = training.get("accelerator_config") or {}
    if not isinstance(accelerator, dict):
        raise RecipeError(f"training.accelerator_config must be keys and values, not {accelerator!r}.")
    reject_unknown("training.accelerator_config", accelerator, ACCELERATOR_KEYS)
    for key in STEPS:
        value = training.get(key)
        if value is not None and (value <= 0 or (value > 1 and value != int(value))):
            raise RecipeError(f"training.{key} must be a whole number of steps, or a share of them, not {value!r}.")
    if training.get("fp16") and training.get("bf16"):
        raise RecipeError("training.fp16 and training.bf16 exclude each other: choose one.")
    _check_trackers(training)
    _check_schedule(training)
    _check_best(training)
    return training


def number_of_steps(training, key):
    """`int`: how many steps `training` (`dict`) lets pass from one `key` (one of `STEPS`) to the next."""
    value = training.get(key)
    if value is None:
        value = number_of_steps(training, "logging_steps") if key == "eval_steps" else 500
    return math.ceil(training["max_steps"] * value) if value < 1 else int(value)


def learning_rate_schedule(training, max_steps):
    """The function from a step to the factor of the learning rate there; None where it follows what is measured."""
    warmup = training.get("warmup_steps") or 0
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = get_scheduler(
        training.get("lr_scheduler_type", "linear"),
        optimizer,
        num_warmup_steps=int(warmup) if warmup >= 1 else math.ceil(max_steps * warmup),
        num_training_steps=max_steps,
        scheduler_specific_kwargs=training.get("lr_scheduler_kwargs"),
    )
    return schedule.lr_lambdas[0] if hasattr(schedule, "lr_lambdas") else None


def _check_kinds(training):
    """Values of fields that are plain numbers or switches."""
    hints = get_type_hints(TrainingArguments)
    for key, value in training.items():
        kinds = [each for each in get_args(hints[key]) or [hints[key]] if each is not type(None)]
        if value is None or kinds not in ([bool], [int], [float]):
            continue
        fits = {bool: (bool,), int: (int,), float: (int, float)}[kinds[0]]
        if not isinstance(value, fits) or isinstance(value, bool) != (kinds == [bool]):
            said = {bool: "true or false", int: "a whole number", float: "a number"}[kinds[0]]
            raise RecipeError(f"training.{key} must be {said}, not {value!r}.")
    check_integer("training.gradient_accumulation_steps", training.get("gradient_accumulation_steps", 1))
    check_integer("training.seed", training.get("seed", 0), 0)


def _check_trackers(training):
    """Trainer itself would look for their packages when the data have been read."""
    names = training.get("report_to") or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(each in (*TRACKERS, "none", "all") for each in names):
        raise RecipeError(f"training.report_to must be of {', '.join(TRACKERS)}, all or none, not {names!r}.")
    missing = set(names) - set(get_available_reporting_integrations()) - {"none", "all", *NOT_LISTED}
    if missing:
        raise RecipeError(f"training.report_to: {min(missing)} is not installed; install its package, or leave it out.")


def _check_schedule(training):
    kind, options = training.get("lr_scheduler_type", "linear"), training.get("lr_scheduler_kwargs")
    if options is not None and not isinstance(options, dict):
        raise RecipeError(f"training.lr_scheduler_kwargs must be keys and values, not {options!r}.")
    check_number("training.warmup_steps", training.get("warmup_steps") or 0, 0, math.inf)
    if kind in MEASURED_SCHEDULES and training.get("eval_strategy", "no") == "no":
        raise RecipeError(f"training.lr_scheduler_type: {kind} needs training.eval_strategy and evaluation.")
    try:
        learning_rate_schedule(training, training["max_steps"])
    except (TypeError, ValueError) as error:
        raise RecipeError(f"training.lr_scheduler_type, training.lr_scheduler_kwargs: {error}") from error


def _check_best(training):
    """The best model can be loaded only if every model that was evaluated was saved."""
    if not training.get("load_best_model_at_end"):
        return
    evaluates, saves = training.get("eval_strategy", "no"), training.get("save_strategy", "steps")
    if evaluates == "no":
        raise RecipeError("training.load_best_model_at_end needs training.eval_strategy and evaluation.")
    if saves == "best":
        return
    found = [evaluates, saves]
    if found == ["steps", "steps"]:
        found = [f"every {number_of_steps(training, key)} steps" for key in ("eval_steps", "save_steps")]
    if found[0] != found[1]:
        raise RecipeError(
            "training.load_best_model_at_end (which early_stopping_patience sets): the best model must be among the "
            f"saved ones, but evaluation is {found[0]} and saving {found[1]}: set training.save_steps to "
            "training.eval_steps, or training.load_best_model_at_end to false, to end with the last model."
        )
