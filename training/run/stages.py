"""Runs a recipe: its stages one after the other, each from its last sound checkpoint."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import set_seed

from c3.base_models_c3 import WHOLE
from c3.position_limits_c3 import most_positions
from c3.quoting_c3 import printable_lines
from c3.support.allocator import keep_freed_memory
from c3.support.cpu_instructions import has_fast_bfloat16, has_fast_float16
from c3.support.environment import describe_hardware
from c3.training.data.corpus import Corpus
from c3.training.data.validation import validation_windows
from c3.training.devices.compiling import compile_layers
from c3.training.devices.distributed import check_world_size, release_trainer
from c3.training.devices.liger import apply_liger_kernel, check_liger_device
from c3.training.optim.lora import add_lora, save_adapter, save_base
from c3.training.optim.parts import count_parameters, describe_parts, set_trainable
from c3.training.publish.merge_lora import merge_anew
from c3.training.publish.model_card import TrainedModel, write_model_card
from c3.training.publish.plain_model import full_state_dict, plain_model
from c3.training.publish.push import PublishError, check_can_publish, publish
from c3.training.publish.training_curves import plot_training_curves
from c3.training.recipe.recipe_changes import check_recipe_changes
from c3.whole_files_c3 import write_whole

from .build import build, has_own_config, make_tokenizer, start_config
from .checkpoints import COMPLETE, checkpoint_to_resume, layout_of
from .early_checks import (
    check_changes,
    check_compiler,
    check_following_stages,
    check_hub,
    check_layout,
    check_optimizer,
    check_output_dir,
)
from .full_disk import TrainingError, full_disk_explained
from .resuming import check_batch_layout, check_draws
from .run_lock import run_lock
from .trainer import C3Trainer, training_arguments

LOG = "log_history.json"


def train(recipe):
    """
    Runs a recipe to its end, or on from where it was stopped.

    Returns: `Path` of the folder with the finished model, in bfloat16, and its processor.

    Raises:
        RecipeError: a value that turns out not to work with the model, the data or this machine.
        TrainingError: a run that cannot go on; its checkpoints stay.
    """
    check_output_dir(recipe.output_dir)
    check_hub(recipe)
    with run_lock(recipe.output_dir, held=is_main_process()):
        return train_locked(recipe)


def train_locked(recipe):
    """As `train`, with the output folder to ourselves."""
    stages = recipe.stage_recipes()
    if recipe.init_from is not None:
        # All of them now, so that hours of the first stage do not end at what the second asks for.
        recipe.check_stages(start_config(recipe))
    if recipe.hub is not None and is_main_process():
        # Now, so that hours of training do not end at a missing login.
        say(f"The model will be pushed to {check_can_publish(recipe.hub)}.")
    for stage in stages:
        check_changes(stage)
    history, start_from, following = [], None, stages
    for number, stage in enumerate(stages, start=1):
        output_dir = Path(stage.output_dir)
        name = output_dir.name if len(stages) > 1 else None
        done = output_dir / "finished"
        if (done / COMPLETE).is_file():
            say(f"Stage {name} was finished before.")
        else:
            if name:
                say(f"Stage {number} of {len(stages)}: {name}")
            with full_disk_explained(output_dir):
                # Those after it are looked at once.
                following = stages[number:] if following is stages else ()
                trainer = train_stage(stage, start_from, following)
                write_log(trainer, output_dir / LOG)
                if number < len(stages):
                    save_model(trainer, done, getattr(torch, stage.dtype))
                    release_trainer(trainer)
        start_from = str(done)
        if is_main_process():
            entries = json.loads((output_dir / LOG).read_text(encoding="utf-8"))
            history += [entry | ({"stage": name} if name else {}) for entry in entries]
    with full_disk_explained(stages[-1].output_dir):
        return finish(recipe, trainer, history)


def train_stage(recipe, start_from=None, following=()):
    """
    Trains one stage, or on from its last sound checkpoint.

    Args:
        recipe ([`Recipe`]): of the stage.
        start_from (`str`, *optional*): the finished folder of the stage before.
        following (`list[Recipe]`): stages after it, of which is checked now what can be.

    Returns: [`C3Trainer`].
    """
    trainer = make_trainer(recipe, start_from, following=following)
    args = trainer.args
    with args.main_process_first(local=args.save_on_each_node, desc="checkpoints"):
        last = checkpoint_to_resume(recipe.output_dir, say)
    if last is not None:
        check_batch_layout(last, layout_of(last), args)
        check_recipe_changes(last, layout_of(last), recipe, say)
        check_draws(last, layout_of(last), recipe, say)
    trainer.train(resume_from_checkpoint=last)
    return trainer


def make_trainer(recipe, start_from=None, trainer_class=C3Trainer, following=()):
    """As `train_stage`, the trainer before it trains."""
    args = training_arguments(recipe)
    check_world_size(args, recipe)
    # Whatever can be refused is before the texts are tokenized, which may take long.
    check_layout(recipe, args)
    check_compiler(recipe, args.device.type)
    if recipe.liger_kernel:
        check_liger_device(args.device)
    if args.device.type == "cpu":
        keep_freed_memory()
        for name, asked, is_fast in (
            ("bfloat16", args.bf16 or recipe.dtype == "bfloat16", has_fast_bfloat16),
            ("float16", args.fp16 or recipe.dtype == "float16", has_fast_float16),
        ):
            if asked and not is_fast():
                say(
                    f"This CPU emulates matrix products of {name}, which takes up to a hundred times as long: set "
                    f"{'training.bf16' if name == 'bfloat16' else 'training.fp16'}=false and dtype=float32."
                )
    # save_on_each_node: the machines share no folders, and the first process of each prepares its own.
    first = {"local": args.save_on_each_node}
    with args.main_process_first(**first, desc="tokenizer"):
        if isinstance(recipe.tokenizer, dict) and start_from is None:
            make_tokenizer(recipe)
    set_seed(args.seed)
    model = build(recipe, start_from)
    if recipe.liger_kernel:
        apply_liger_kernel(model)
    processor = model.processor
    if recipe.lora is not None:
        if not model.name_or_path or has_own_config(recipe, model.config):
            # An adapter names what it is for, so a new pair is saved once, and so is another config.
            bases = {WHOLE: recipe.init_from} if recipe.init_from else recipe.init_from_pair
            with args.main_process_first(**first, desc="base of the adapters"):
                save_base(model, Path(recipe.output_dir) / "base", bases)
        model = add_lora(model, recipe.lora)
    else:
        set_trainable(model, recipe.trainable)
    say(describe_parts(model))
    check_optimizer(recipe, model)
    with args.main_process_first(**first, desc="data"):
        held_out = validation_windows(recipe, processor) if recipe.evaluation else None
        corpus = Corpus(recipe, processor, say, positions=most_positions(model.config.decoder_config))
        check_following_stages(following, model, corpus)
    if recipe.torch_compile:
        compile_layers(model)
    return trainer_class(
        recipe,
        corpus,
        eval_dataset=held_out,
        model=model,
        args=args,
        processing_class=processor,
    )


def save_model(trainer, folder, dtype):
    """Writes model and processor, and marks the folder as whole. Every process must call it."""
    state = full_state_dict(trainer)
    if state is not None:
        with full_disk_explained(trainer.args.output_dir, partial=folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / COMPLETE).unlink(missing_ok=True)
            plain_model(trainer.accelerator.unwrap_model(trainer.model), state, dtype).save_pretrained(folder)
            (folder / COMPLETE).touch()
    # Nobody goes on before the folder is whole.
    trainer.accelerator.wait_for_everyone()


def write_log(trainer, path):
    """Writes the log of a stage as JSON."""
    if trainer.args.should_save:
        write_whole(path, json.dumps(trainer.state.log_history, indent=1))


def finish(recipe, trainer, history):
    """
    Writes the model in bfloat16 with its processor (of a run with LoRA the adapter, and what is pushed of it where that
    is the merged model), and beside it the log as JSON and the figure of the curves.
    """
    output_dir = Path(recipe.output_dir)
    final = output_dir / "final"
    merged = output_dir / "merged" if recipe.hub is not None and recipe.hub.merged else None
    if recipe.lora is not None:
        # All processes have to help gather the weights.
        state = full_state_dict(trainer)
        if state is not None:
            with full_disk_explained(trainer.args.output_dir, partial=final):
                save_adapter(trainer.accelerator.unwrap_model(trainer.model), final, state_dict=state)
        trainer.accelerator.wait_for_everyone()
        if merged is None:
            say(f"To merge it: c3 merge-lora {final} {output_dir / 'merged'}")
    else:
        save_model(trainer, final, torch.bfloat16)
    if trainer.args.should_save:
        (final / COMPLETE).unlink(missing_ok=True)  # the mark is for us, not for those who get the folder
        write_whole(output_dir / LOG, json.dumps(history, indent=1))
        plot_training_curves(history, output_dir / "training_curves.png")
        write_card(recipe, trainer, history, final, count_parameters(trainer.model))
        if merged is not None:
            only = trainer.accelerator.unwrap_model(trainer.model).config.reconstruction_only
            whole = merge_anew(final, merged, reconstruction_only=only)
            write_card(recipe, trainer, history, merged, count_parameters(whole), merged=True)
        say(f"Finished: {final}")
        if recipe.hub is not None:
            try:
                say(f"Pushed: {publish(merged or final, recipe.hub)}")
            except PublishError as error:
                raise TrainingError(str(error)) from error
    return final


def write_card(recipe, trainer, history, folder, counts, merged=False):
    """Fills a folder's model card, README.md, and puts the figure and the log beside it."""
    counts = {part: total for part, (total, _) in counts.items()}
    last = recipe.stage_recipes()[-1]
    args = trainer.args
    output_dir = Path(recipe.output_dir)
    pair = recipe.init_from_pair or {}
    bases = [name for name in (recipe.init_from, pair.get("encoder"), pair.get("decoder")) if name]
    # Of an adapter and the merged model only one is pushed.
    hub = recipe.hub if recipe.hub is not None and recipe.hub.merged == merged else None
    model = TrainedModel(
        model_id=hub.repo_id if hub else str(folder),
        revision=hub.revision if hub else None,
        recipe=plain(recipe),
        # Steps are counted anew in every stage; the figures of the last one are those of the weights.
        log_history=trainer.state.log_history,
        parameters=counts | {"total": sum(counts.values())},
        step=trainer.state.best_global_step if args.load_best_model_at_end else trainer.state.global_step,
        train_data=[source.path for source in last.train_data + last.instruction_data],
        validation_data=[source.path for source in last.validation_data],
        tokens=sum(_last(history, "num_input_tokens_seen").values()),
        seconds=sum(_last(history, "seconds").values()),
        hardware=describe_hardware(args.device.type, args.world_size),
        base_models=[name for name in bases if not Path(name).exists()],
        license=recipe.hub.license if recipe.hub else None,
        languages=recipe.hub.languages if recipe.hub else [],
        adapter=None if recipe.lora is None else "merged" if merged else "separate",
    )
    write_model_card(folder, model, [output_dir / "training_curves.png"], [output_dir / LOG])


def plain(recipe):
    """The recipe as keys and values, `dict`, without what it leaves at nothing."""
    return {key: value for key, value in asdict(recipe).items() if value not in (None, [], {})}


def _last(history, key):
    """The highest value of a key in each stage, by stage."""
    values = {}
    for entry in history:
        values[entry.get("stage")] = max(values.get(entry.get("stage"), 0), entry.get(key, 0))
    return values


def is_main_process():
    """Whether this is the one of a launcher's processes that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def say(message):
    """Prints a line on standard error, once of all processes."""
    if is_main_process():
        print(printable_lines(message), file=sys.stderr, flush=True)
