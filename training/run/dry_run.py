"""What a recipe would do, without doing it: the resolved values, sizes, and the first example."""

import os
from dataclasses import asdict
from types import SimpleNamespace

import torch
import yaml

from c3.configuration_c3 import C3Config
from c3.modeling_c3 import C3Model
from c3.position_limits_c3 import most_positions
from c3.processing_c3 import C3Processor
from c3.training.checks import loading
from c3.training.data.corpus import Corpus
from c3.training.data.validation import validation_windows
from c3.training.devices.memory import MemoryEstimate, estimate_activations, estimate_states
from c3.training.devices.sharding import deepspeed_config
from c3.training.optim.lora import add_lora
from c3.training.optim.parts import MODEL_PARTS, count_parameters, set_trainable
from c3.training.publish.push import check_can_publish

from .build import like, make_tokenizer, pair_config_fields, start_config
from .early_checks import check_changes, check_hub, check_layout, check_optimizer, check_output_dir
from .stages import plain

# Enough documents for an example; a whole corpus may take long to tokenize.
DOCUMENTS = 100
# One setting of `TrainingArguments`, by its new name and by the one it had before.
CHECKPOINTING = ("activation_checkpointing", "gradient_checkpointing")


def dry_run(recipe, num_devices=None):
    """
    A report on a [`Recipe`], `str`: for each stage its resolved values, parameters, tokens and steps, memory per
    device, and an example. No weights are loaded or made.

    What `train` would refuse is refused here, as far as the first documents tell; that this machine has another device
    than the run would have, or too few, is no reason.

    Args:
        num_devices (`int`, *optional*): that would train together; by default what the launcher says.
    """
    check_output_dir(recipe.output_dir)
    check_hub(recipe)
    if recipe.hub is not None:
        check_can_publish(recipe.hub, create=False)
    devices = num_devices or int(os.environ.get("WORLD_SIZE", "1"))
    pieces = []
    for stage in recipe.stage_recipes():
        check_changes(stage)
        if num_devices is None:
            check_layout(stage, _arguments(stage, devices))
        model = _without_weights(stage)
        stage.check_model(model.config)
        if stage.lora is not None:
            model = add_lora(model, stage.lora)
        else:
            set_trainable(model, stage.trainable)
        check_optimizer(stage, model)
        if stage.evaluation:
            validation_windows(stage, model.processor)
        pieces += [
            f"===== {stage.output_dir} =====",
            yaml.safe_dump(plain(stage), sort_keys=False, allow_unicode=True).rstrip(),
            "",
            _parameters(model),
            _steps(stage, devices),
            _memory(stage, model, devices),
            "",
            _example(stage, model),
        ]
    return "\n".join(pieces)


def _arguments(recipe, num_devices):
    """What `check_batch_layout` takes of the `TrainingArguments` of a run."""
    return SimpleNamespace(
        world_size=num_devices,
        gradient_accumulation_steps=recipe.training.get("gradient_accumulation_steps", 1),
        deepspeed_plugin=deepspeed_config(recipe.training),
    )


def _without_weights(recipe):
    """The stage's model on the meta device, with its processor."""
    if recipe.init_from is not None:
        config = start_config(recipe)
        with loading(f"init_from: {recipe.init_from}"):
            processor = like(C3Processor.from_pretrained(recipe.init_from), config)
            processor.warn_of_loss()
    elif recipe.init_from_pair is not None:
        pair = recipe.init_from_pair
        fields = pair_config_fields(pair)
        with loading("init_from_pair"):
            config = C3Config(**fields)
            processor = C3Processor.from_pair(config, pair["encoder"], pair["decoder"])
    else:
        tokenizer = make_tokenizer(recipe)
        config = recipe.model_config(len(tokenizer))
        processor = C3Processor.from_config(config, tokenizer)
    with torch.device("meta"):
        model = C3Model(config)
    model.processor = processor
    return model


def _parameters(model):
    counts = count_parameters(model)
    rows = [(part, *counts[part]) for part in MODEL_PARTS]
    rows.append(("total", sum(every for _, every, _ in rows), sum(trainable for _, _, trainable in rows)))
    lines = [f"{name:10} {every:>14,} {trainable:>14,}" for name, every, trainable in rows]
    return "\n".join([f"{'parameters':10} {'all':>14} {'trainable':>14}", *lines])


def _micro_batches(recipe, num_devices):
    return num_devices * recipe.training.get("gradient_accumulation_steps", 1)


def _steps(recipe, num_devices):
    per_step = recipe.tokens_per_batch * _micro_batches(recipe, num_devices)
    steps = recipe.training["max_steps"]
    return (
        f"\n{per_step:,} text tokens per step ({recipe.tokens_per_batch:,} x {_micro_batches(recipe, num_devices)} "
        f"micro-batches), {steps:,} steps, {per_step * steps:,} tokens in all"
    )


def memory_estimate(recipe, model, num_devices):
    """
    What training takes on each device, [`MemoryEstimate`].

    Args:
        recipe ([`Recipe`]): of one stage.
        model ([`C3Model`] or `peft.PeftModel`): with what is trained marked so; it needs no weights.
        num_devices (`int`): that train together.
    """
    deepspeed = deepspeed_config(recipe.training) or {}
    settings = deepspeed.get("zero_optimization", {})
    mixed = bool(recipe.training.get("bf16") or recipe.training.get("fp16"))
    half = recipe.dtype != "float32" or bool(deepspeed and mixed)
    # `add_lora` keeps in float32 what it trains; DeepSpeed converts it.
    trained_half = half and (recipe.lora is None or bool(deepspeed and mixed))
    counts = count_parameters(model).values()
    lowest = min(phase.lowest_ratio for phase in recipe.curriculum)
    return MemoryEstimate(
        *estimate_states(
            *(sum(each) for each in zip(*counts, strict=True)),
            bytes_per_weight=2 if half else 4,
            bytes_per_trained_weight=2 if trained_half else 4,
            zero_stage=settings.get("stage", 0),
            num_devices=num_devices,
            offload_optimizer=_is_offloaded(settings, "offload_optimizer"),
            offload_weights=_is_offloaded(settings, "offload_param"),
        ),
        estimate_activations(
            model.config,
            recipe.tokens_per_batch,
            int(recipe.tokens_per_batch / lowest),
            bytes_per_number=2 if half or mixed else 4,
            gradient_checkpointing=any(recipe.training.get(key) for key in CHECKPOINTING),
        ),
    )


def _is_offloaded(settings, key):
    return ((settings.get(key) or {}).get("device") or "none") != "none"


def _memory(recipe, model, num_devices):
    estimate = memory_estimate(recipe, model, num_devices)
    parts = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in asdict(estimate).items())
    deepspeed = deepspeed_config(recipe.training)
    stage = "without ZeRO"
    if deepspeed is not None:
        stage = f"ZeRO stage {deepspeed.get('zero_optimization', {}).get('stage', 0)}"
    return f"about {estimate.total / 2**30:.2f} GiB on each of {num_devices} devices, {stage} ({parts})"


def _example(recipe, model):
    options = {"max_documents": DOCUMENTS, "positions": most_positions(model.config.decoder_config)}
    corpus = Corpus(recipe, model.processor, lambda message: None, **options)
    if corpus.is_whole:
        corpus.check_texts(recipe)
        corpus.check_rows()
    collated = corpus.example()
    tokenizer, config = model.processor.tokenizer, model.config
    placeholders = {config.latent_token_id: "<latent>", config.mask_token_id: "<mask>"}
    return "\n".join(
        [
            f"an example, from the first {DOCUMENTS} documents",
            *_context_lines(collated, model),
            f"input text         {_shown(tokenizer, collated['input_ids'][0], placeholders)!r}",
            f"input_ids          {collated['input_ids'][0].tolist()}",
            f"labels             {collated['labels'][0].tolist()}",
        ]
    )


def _context_lines(collated, model):
    """What the encoder reads: of text the ids, of other kinds of context the shapes."""
    names = model.processor.modality.input_names
    if "context_input_ids" not in names:
        return [f"{name:<18} {tuple(collated[name].shape)}" for name in names if name in collated]
    tokenizer, ids = model.processor.context_tokenizer or model.processor.tokenizer, collated["context_input_ids"][0]
    return [
        f"context text       {_shown(tokenizer, ids, {model.config.query_token_id: '<query>'})!r}",
        f"context_input_ids  {ids.tolist()}",
    ]


def _shown(tokenizer, ids, placeholders):
    """Text of ids, with names for placeholders."""
    pieces, held = [], []
    for index in ids.tolist():
        if index in placeholders:
            pieces += [tokenizer.decode(held), placeholders[index]]
            held = []
        else:
            held.append(index)
    return "".join([*pieces, tokenizer.decode(held)])
