"""
Speed of a whole training step against the bare forward and backward passes that it cannot do without.

    c3 bench train-throughput [--recipe configs/c3_laptop.yaml] [--steps 20] [--output FILE] [key=value …]

Whole step: what `C3Trainer` does between two optimizer steps: making the batch, the forward and backward passes, the
clipping, the optimizer, the log. Baseline: on the same padded batch the encoder's and the decoder's own forward and
backward passes with embeddings, head and cross entropy over the text's positions, in the same dtype, with the same
attention and compiled the same way; nothing else. Both alternate, so that what else the machine does falls on both.
The ratio is the baseline's time by that of the step on the same batch, the median over the steps after the warm-up;
0.85 is the floor for the laptop's recipe on a CPU. `flops_ratio` is the same ratio in FLOPs of matrix products, counted
eagerly: what it would be if nothing but arithmetic took time, so that the cost of an optimizer's own products shows.

Weights and data are random: neither changes how long a step takes. On CUDA the same command takes the GPU.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from c3.support.arguments import Parser, whole_number
from c3.support.loading import PACKAGE
from c3.training.run.trainer import C3Trainer

from .random_training import random_trainer, run_facts, wait_for

WARM_UP = 5


class Alternating(TrainerCallback):
    """Times each step, and then the baseline on that step's batch."""

    def __init__(self):
        self.trainer = None
        self.steps, self.baselines, self.tokens, self.padding = [], [], [], []
        self.started = None

    def on_step_begin(self, args, state, control, **kwargs):
        # The first batch was made before anything could be timed; it is warm-up anyway.
        self.started = self.started or time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        wait_for(args.device)
        self.steps.append(time.perf_counter() - self.started)
        batch = self.trainer.last_batch
        self.tokens.append(int((batch["labels"] != -100).sum()))
        masks = [batch[name] for name in ("attention_mask", "context_attention_mask")]
        self.padding.append(1 - sum(int((mask > 0).sum()) for mask in masks) / sum(mask.numel() for mask in masks))
        begun = time.perf_counter()
        forward_and_backward(self.trainer.model, batch, args.bf16)
        wait_for(args.device)
        self.baselines.append(time.perf_counter() - begun)
        self.trainer.model.zero_grad()
        self.started = time.perf_counter()


class RememberingTrainer(C3Trainer):
    """Keeps the batch of the last step for the baseline."""

    def training_step(self, model, inputs, *args, **kwargs):
        self.last_batch = self._prepare_inputs(dict(inputs))
        return super().training_step(model, inputs, *args, **kwargs)


def forward_and_backward(model, batch, bf16):
    """The baseline: both backbones on the ids of a batch, with placeholders taken for ordinary tokens."""
    device = batch["input_ids"].device
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        # Packed rows, whose masks number windows, cost the baseline as much as rows of one.
        context_mask = (batch["context_attention_mask"] > 0).long()
        encoder_ids = batch["context_input_ids"].clamp(max=model.config.encoder_config.vocab_size - 1)
        hidden = model.encoder(
            inputs_embeds=model.encoder.get_input_embeddings()(encoder_ids),
            attention_mask=context_mask,
            position_ids=context_mask.cumsum(-1) - 1,
            use_cache=False,
        ).last_hidden_state
        decoder_ids = batch["input_ids"].clamp(max=model.config.decoder_config.vocab_size - 1)
        kept = batch["logits_to_keep"]
        logits = model.decoder(
            inputs_embeds=model.decoder.get_input_embeddings()(decoder_ids),
            attention_mask=batch["attention_mask"],
            position_ids=batch["position_ids"],
            use_cache=False,
            logits_to_keep=kept,
        ).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), batch["labels"][:, -kept + 1 :].flatten(), ignore_index=-100
        )
    (loss + hidden.float().mean()).backward()


def count_flops(trainer):
    """FLOPs of the matrix products of the baseline, of our forward and backward passes, and of the optimizer's step."""
    model, batch = trainer.model, trainer.last_batch
    passes = {
        "baseline": lambda: forward_and_backward(model, batch, trainer.args.bf16),
        "passes": lambda: trainer.training_step(model, dict(batch)),
        "optimizer": trainer.optimizer.step,
    }
    counts = {}
    # The counter sees what is dispatched one by one, which compiled code is not.
    with torch.compiler.set_stance("force_eager"):
        for name, run in passes.items():
            with FlopCounterMode(display=False) as counter:
                run()
            counts[name] = counter.get_total_flops()
    return counts


def measure(recipe_path, steps, overrides):
    """`dict` of the figures, as the command prints them."""
    with tempfile.TemporaryDirectory() as folder:
        clock = Alternating()
        trainer = random_trainer(recipe_path, Path(folder), WARM_UP + steps, overrides, RememberingTrainer)
        clock.trainer = trainer
        trainer.add_callback(clock)
        trainer.train()
        flops = count_flops(trainer)
    ratios = [ours / theirs for ours, theirs in zip(clock.baselines[WARM_UP:], clock.steps[WARM_UP:], strict=True)]
    step, baseline = (statistics.median(each[WARM_UP:]) for each in (clock.steps, clock.baselines))
    tokens = statistics.mean(clock.tokens[WARM_UP:])
    return {
        "benchmark": "train_throughput",
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(each, 4) for each in np.quantile(ratios, [0.25, 0.75]).tolist()],
        "flops_ratio": round(flops["baseline"] / (flops["passes"] + flops["optimizer"]), 4),
        "flops": flops,
        "step_seconds": round(step, 4),
        "baseline_seconds": round(baseline, 4),
        "text_tokens_per_second": round(tokens / step, 1),
        "padding": round(statistics.mean(clock.padding[WARM_UP:]), 4),
        "parameters": trainer.model.num_parameters(),
    } | run_facts(recipe_path, overrides, steps)


def train_throughput_command(argv, prog):
    """Runs the command; raises `OSError`, `ValueError` saying in one line what is wrong."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(PACKAGE / "configs" / "c3_laptop.yaml"))
    parser.add_argument("--steps", type=whole_number(1), default=20, help="timed steps")
    parser.add_argument("--output", help="a JSON file")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="of the recipe")
    args = parser.parse_intermixed_args(argv)
    report = json.dumps(measure(args.recipe, args.steps, args.overrides), indent=1)
    print(report)
    if args.output:
        Path(args.output).write_text(report + "\n", encoding="utf-8")
