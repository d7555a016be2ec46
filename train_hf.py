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

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from c3.configuration_c3 import C3Config
from c3.data_c3 import CurriculumSampler, ReconstructionCollator, TokenStream, WindowDataset, load_texts
from c3.eval.free_running import free_running_precision
from c3.modeling_c3 import C3Model
from c3.optim_c3 import MuonWithAdamW
from c3.processing_c3 import C3Processor
from c3.recipe_c3 import load_recipe
from c3.tokenizer_c3 import train_tokenizer

COMPLETE = "complete"  # the file that marks a checkpoint as wholly written


class C3Trainer(Trainer):
    """`Trainer` with the curriculum's batches, the recipe's optimizer and free-running evaluation."""

    def __init__(self, recipe, stream, **kwargs):
        super().__init__(**kwargs)
        self.recipe, self.stream = recipe, stream

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
            name = options.pop("name")
            if name == "muon":
                self.optimizer = MuonWithAdamW(self.model, **options)
            else:
                self.optimizer = torch.optim.AdamW(self.model.parameters(), **options)
        return self.optimizer

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
        super()._save_checkpoint(model, trial, **kwargs)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            (folder / COMPLETE).touch()


def last_whole_checkpoint(output_dir):
    """The newest checkpoint that was wholly written, or None; half-written ones are removed."""
    if not Path(output_dir).is_dir():
        return None
    while (checkpoint := get_last_checkpoint(output_dir)) is not None:
        if (Path(checkpoint) / COMPLETE).is_file():
            return checkpoint
        print(f"Removing {checkpoint}: it was not wholly written.", file=sys.stderr)
        shutil.rmtree(checkpoint)
    return None


def build(recipe, texts):
    """The recipe's model and processor, new or from a C3 checkpoint."""
    if recipe.init_from is not None:
        model = C3Model.from_pretrained(recipe.init_from)
        return model, model.processor
    if isinstance(recipe.tokenizer, dict):
        folder = Path(recipe.output_dir) / "tokenizer"
        if not (folder / COMPLETE).is_file():
            train_tokenizer((text for text in texts["text"]), **recipe.tokenizer).save_pretrained(folder)
            (folder / COMPLETE).touch()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    else:
        tokenizer = AutoTokenizer.from_pretrained(recipe.tokenizer)
    special = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    special |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    options = dict(recipe.model)
    for part in ("encoder_config", "decoder_config"):
        options[part] = special | options.get(part, {})
    config = C3Config(**options)
    return C3Model(config), C3Processor.from_config(config, tokenizer)


def train(recipe):
    """Runs a recipe to its end (or on from its last checkpoint) and returns the folder of the finished model."""
    import datasets

    if recipe.attn_implementation == "cpu_matmul":
        import c3.attention_c3  # noqa: F401  registers itself

    output = Path(recipe.output_dir)
    args = TrainingArguments(output_dir=str(output), remove_unused_columns=False, **recipe.training)
    if args.max_steps < 1:
        raise ValueError("training.max_steps: give the number of optimizer steps, 1 or more.")
    set_seed(args.seed)
    texts = datasets.concatenate_datasets([load_texts(each, column=recipe.text_column) for each in recipe.train_data])
    model, processor = build(recipe, texts)
    model.processor = processor
    longest = max(length for phase in recipe.curriculum for length in phase.windows)
    stream = TokenStream(texts, processor, block_size=longest)
    print(
        f"{stream.num_documents} documents ({stream.num_empty} empty), {len(stream.ids)} tokens, "
        f"{len(stream.blocks)} blocks of {longest}; {model.num_parameters() / 1e6:.1f} M parameters",
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
        eval_dataset=validation_windows(recipe, processor) or None,
        model=model,
        args=args,
        train_dataset=WindowDataset(
            stream.ids,
            vocab_size=len(processor.tokenizer),
            dropout_windows=recipe.dropout_windows if model.config.use_mask_embedding else 0.0,
            random_windows=recipe.random_windows,
        ),
        data_collator=ReconstructionCollator(processor, model.config.mask_token_id),
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    return finish(trainer, processor, output)


def validation_windows(recipe, processor):
    """Texts of `evaluation.window` tokens each, spread over the validation documents."""
    wanted, length = recipe.evaluation.get("windows", 0), recipe.evaluation.get("window", 0)
    chosen = []
    for source in recipe.validation_data:
        texts = load_texts(source, column=recipe.text_column)["text"]
        step = max(1, len(texts) // wanted)
        for text in texts[::step][:wanted]:
            windows = [each.text_ids for each in processor.split(text, length) if len(each.text_ids) == length]
            if windows:
                # A window from the middle: documents start with titles and tables of contents.
                chosen.append(processor.decode(windows[len(windows) // 2]))
    return [text for text in chosen if text.strip() and "\ufffd" not in text]


def finish(trainer, processor, output):
    """Writes the model in bfloat16 with its processor, the log as JSON and the figure of the curves."""
    from c3.eval.training_curves import plot_training_curves

    final = output / "final"
    if trainer.args.should_save:
        trainer.accelerator.unwrap_model(trainer.model).to(torch.bfloat16).save_pretrained(final)
        processor.save_pretrained(final)
        history = trainer.state.log_history
        temporary = output / "log_history.json.tmp"
        temporary.write_text(json.dumps(history, indent=1), encoding="utf-8")
        os.replace(temporary, output / "log_history.json")
        plot_training_curves(history, output / "training_curves.png")
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
    train(recipe)


if __name__ == "__main__":
    main()
