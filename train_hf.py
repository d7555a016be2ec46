"""Trains a C3 model with the Hugging Face `Trainer` from a recipe.

    python train_hf.py configs/c3_mini.yaml [training.max_steps=20 …]

Started again after a kill at any moment, it goes on from the last whole checkpoint, with the same loss curve.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

try:
    import accelerate  # noqa: F401  TrainingArguments needs it
    import datasets
    import matplotlib  # noqa: F401
    import torch
    import yaml  # noqa: F401
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer, Trainer, TrainingArguments, set_seed

    from c3.allocator_c3 import keep_freed_memory
    from c3.data_c3 import (
        CurriculumSampler,
        ReconstructionCollator,
        TokenStream,
        WindowDataset,
        load_texts,
        random_token_ids,
    )
    from c3.eval.free_running import free_running_precision
    from c3.eval.training_curves import plot_training_curves
    from c3.modeling_c3 import C3Model
    from c3.processing_c3 import C3Processor
    from c3.recipe_c3 import OPTIMIZERS, RecipeError, load_recipe
    from c3.tokenizer_c3 import train_tokenizer
except ModuleNotFoundError as error:
    # From the checkout's folder, so that `.` is right.
    sys.exit(f"train_hf.py: {error}. Install c3 with what training needs: pip install -e .[train]")

COMPLETE = "complete"  # the file that marks a checkpoint, or the trained tokenizer, as wholly written


class C3Trainer(Trainer):
    """`Trainer` with the curriculum's batches, the recipe's optimizer, free-running evaluation and safe checkpoints."""

    def __init__(self, recipe, stream, **kwargs):
        super().__init__(**kwargs)
        self.recipe, self.stream = recipe, stream
        # Old checkpoints are deleted here, once the new one is marked as whole.
        self.checkpoints_to_keep, self.args.save_total_limit = self.args.save_total_limit, None

    def get_train_dataloader(self):
        sampler = CurriculumSampler(
            self.stream.blocks,
            self.recipe.curriculum,
            num_batches=self.args.max_steps * self.args.gradient_accumulation_steps * self.args.world_size,
            tokens_per_batch=self.recipe.tokens_per_batch,
            seed=self.args.seed,
        )
        loader = DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            options = dict(self.recipe.optimizer)
            make = OPTIMIZERS[options.pop("name")]
            # Muon sorts the parameters by their names, AdamW takes them all.
            self.optimizer = make(self.model if make is OPTIMIZERS["muon"] else self.model.parameters(), **options)
        return self.optimizer

    def training_step(self, *args, **kwargs):
        """As in `Trainer`, but a loss that is not finite ends the run; `Trainer` would log it as 0 and go on."""
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            self._give_up(f"The loss is {loss.item()} at step {self.state.global_step + 1} of {self.args.max_steps}.")
        return loss

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Precision of text to latents to text, decoding greedily, at every ratio of the recipe."""
        self.model.eval()
        # Decoding has a new shape at every step: compiling it would take longer than running it.
        with torch.compiler.set_stance("force_eager"), self.compute_loss_context_manager():
            precision = free_running_precision(self.model, self.eval_dataset, self.recipe.evaluation["ratios"])
        self.model.train()
        metrics = {f"{metric_key_prefix}_precision_{ratio:g}x": value for ratio, value in precision.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model, trial, **kwargs):
        if not all(torch.isfinite(parameter).all() for parameter in self.model.parameters()):
            self._give_up(f"The weights are no longer finite numbers after step {self.state.global_step}.")
        super()._save_checkpoint(model, trial, **kwargs)
        if self.args.should_save:
            *old, new = checkpoints(self.args.output_dir)
            (new / COMPLETE).touch()
            if self.checkpoints_to_keep:
                for each in old[: max(0, len(old) + 1 - self.checkpoints_to_keep)]:
                    if str(each) != self.state.best_model_checkpoint:
                        remove_checkpoint(each)

    def _give_up(self, reason):
        last = last_whole_checkpoint(self.args.output_dir)
        whence = f"The last checkpoint is {last}" if last else "There is no checkpoint yet"
        # In another folder, because a checkpoint brings its learning rate along.
        raise FloatingPointError(f"{reason} {whence}. Start again in a new output_dir with a lower learning rate.")


def checkpoints(output_dir):
    """Folders of checkpoints, whole or not, oldest first."""
    steps = {each: each.name.removeprefix("checkpoint-") for each in Path(output_dir).glob("checkpoint-*")}
    return sorted((each for each in steps if steps[each].isdigit()), key=lambda each: int(steps[each]))


def remove_checkpoint(folder):
    """Deletes a checkpoint; a kill midway leaves one that no longer counts as whole."""
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def last_whole_checkpoint(output_dir):
    """The newest checkpoint that was wholly written, or None."""
    whole = [each for each in checkpoints(output_dir) if (each / COMPLETE).is_file()]
    return str(whole[-1]) if whole else None


def build(recipe, texts):
    """The recipe's model and processor, new or from a C3 checkpoint."""
    if recipe.init_from is not None:
        # Finished models are bfloat16, in which small updates would be rounded away.
        model = C3Model.from_pretrained(recipe.init_from, dtype=torch.float32)
        recipe.check_model(model.config)
        return model, model.processor
    tokenizer = make_tokenizer(recipe, texts)
    names = ("pad_token_id", "eos_token_id", "bos_token_id")
    config = recipe.model_config(len(tokenizer), **{name: getattr(tokenizer, name) for name in names})
    return C3Model(config), C3Processor.from_config(config, tokenizer)


def make_tokenizer(recipe, texts):
    """The recipe's tokenizer; one that is trained is kept in the output folder, for when the run is started again."""
    if not isinstance(recipe.tokenizer, dict):
        return AutoTokenizer.from_pretrained(recipe.tokenizer)
    folder = Path(recipe.output_dir) / "tokenizer"
    marker, options = folder / COMPLETE, json.dumps(recipe.tokenizer)
    if not marker.is_file():
        train_tokenizer(texts["text"], **recipe.tokenizer).save_pretrained(folder)
        marker.write_text(options, encoding="utf-8")
    elif marker.read_text(encoding="utf-8") not in ("", options):
        raise RecipeError(f"{folder} was trained with other options: choose another output_dir, or delete it.")
    return AutoTokenizer.from_pretrained(folder)


def training_arguments(recipe):
    """The recipe's `TrainingArguments`; `RecipeError` for values that transformers refuses."""
    # Batches differ in size, so accelerate cannot make up a missing one for the last process; none is missing.
    options = {"accelerator_config": {"even_batches": False}} | recipe.training
    try:
        return TrainingArguments(output_dir=recipe.output_dir, remove_unused_columns=False, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"training: {error}") from error


def train(recipe):
    """Runs a recipe to its end (or on from its last checkpoint) and returns the folder of the finished model."""
    if recipe.attn_implementation == "cpu_matmul":
        import c3.attention_c3  # noqa: F401  registers itself

    args = training_arguments(recipe)
    if args.device.type == "cpu":
        keep_freed_memory()
    set_seed(args.seed)
    texts = datasets.concatenate_datasets([load_texts(each, column=recipe.text_column) for each in recipe.train_data])
    model, processor = build(recipe, texts)
    model.processor = processor
    stream = TokenStream(texts, processor, block_size=recipe.longest_window)
    print(
        f"{stream.num_documents} documents ({stream.num_empty} empty), {len(stream.ids)} tokens, "
        f"{len(stream.blocks)} blocks of {recipe.longest_window}; {model.num_parameters() / 1e6:.1f} M parameters",
        file=sys.stderr,
    )
    if recipe.attn_implementation is not None:
        model.set_attn_implementation(recipe.attn_implementation)
    if recipe.torch_compile:
        model.encoder.compile(dynamic=True)
        model.decoder.base_model.compile(dynamic=True)
    trainer = C3Trainer(
        recipe,
        stream,
        eval_dataset=validation_windows(recipe, processor) if recipe.evaluation else None,
        model=model,
        args=args,
        train_dataset=WindowDataset(
            stream.ids,
            random_ids=random_token_ids(processor.tokenizer),
            dropout_windows=recipe.dropout_windows,
            random_windows=recipe.random_windows,
        ),
        data_collator=ReconstructionCollator(processor, model.config.mask_token_id),
        processing_class=processor,
    )
    for folder in checkpoints(recipe.output_dir):
        if not (folder / COMPLETE).is_file():
            print(f"Removing {folder}: it was not wholly written.", file=sys.stderr)
            remove_checkpoint(folder)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(recipe.output_dir))
    return finish(trainer, processor, Path(recipe.output_dir) / "final")


def validation_windows(recipe, processor):
    """`list[str]`: texts of `evaluation.window` tokens each, spread over the validation documents."""
    wanted, length = recipe.evaluation["windows"], recipe.evaluation["window"]
    chosen = []
    for source in recipe.validation_data:
        texts = load_texts(source, column=recipe.text_column)["text"]
        step = max(1, len(texts) // wanted)
        for text in texts[::step][:wanted]:
            windows = [each.text_ids for each in processor.split(text, length)] if text else []
            windows = [ids for ids in windows if len(ids) == length]
            if windows:
                # A window from the middle: documents start with titles and tables of contents.
                chosen.append(processor.decode(windows[len(windows) // 2]))
    chosen = [text for text in chosen if text.strip() and "\ufffd" not in text]
    if not chosen:
        raise RecipeError(f"evaluation.window: no document of validation_data has {length} tokens; take fewer.")
    return chosen


def finish(trainer, processor, final):
    """Writes the model in bfloat16 with its processor, and beside it the log as JSON and the figure of the curves."""
    if trainer.args.should_save:
        trainer.accelerator.unwrap_model(trainer.model).to(torch.bfloat16).save_pretrained(final)
        processor.save_pretrained(final)
        history = trainer.state.log_history
        temporary = final.parent / "log_history.json.tmp"
        temporary.write_text(json.dumps(history, indent=1), encoding="utf-8")
        os.replace(temporary, final.parent / "log_history.json")
        plot_training_curves(history, final.parent / "training_curves.png")
        print(f"Finished: {final}", file=sys.stderr)
    return final


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example training.max_steps=20")
    arguments = parser.parse_args(argv)
    try:
        recipe = load_recipe(arguments.recipe, arguments.overrides)
    except (OSError, ValueError) as error:
        parser.exit(2, f"train_hf.py: {error}\n")
    try:
        train(recipe)
    except RecipeError as error:
        parser.exit(2, f"train_hf.py: {error}\n")
    except FloatingPointError as error:
        parser.exit(1, f"train_hf.py: {error}\n")


if __name__ == "__main__":
    main()
