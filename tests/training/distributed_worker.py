"""
One process of a training run in which something is different: `distributed_worker.py WHAT RECIPE [key=value …]`, with
one of the functions below as WHAT. Started by test_distributed.py.
"""

import gc
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from transformers import TrainerCallback

from c3 import train_hf
from c3.training.run import stages as run
from c3.training.run import trainer
from c3.training.run.trainer import C3Trainer

ROOT = Path(__file__).parents[2]
RANK = int(os.environ.get("RANK", 0))


def fsdp(arguments):
    """accelerate shards with FSDP on GPUs only, so it is told that these processes are GPUs; torch needs none."""
    make = run.training_arguments

    def training_arguments(recipe):
        args = make(recipe)
        assert args.world_size == 2
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        return args

    run.training_arguments = training_arguments
    train_hf.main(arguments)


def exact(arguments):
    """When it evaluates, each process also compresses a text of its own exactly; what came back is written down."""
    output = Path(arguments[1].removeprefix("output_dir="))
    page = (ROOT / "examples" / "jefferson_1805.txt").read_text()
    text = page[400 * RANK : 400 * (RANK + 1)]
    evaluate = trainer.shared_precision

    def shared_precision(model, *args, **kwargs):
        precision = evaluate(model, *args, **kwargs)
        latents = model.compress(text, ratio=45, exact=True)
        found = {"text": text, "exact": model.expand(latents)}
        # Which of the weights FSDP keeps gathered depends on what was computed last; their fingerprint must not.
        found["again"] = model.expand(latents)
        found["greedy"] = model.expand(replace(latents, corrections=None, check_finite=False))
        (output / f"exact-{RANK}.json").write_text(json.dumps(found | {"fidelity": latents.fidelity}))
        return precision

    trainer.shared_precision = shared_precision
    (fsdp if "training.fsdp=true" in arguments else train_hf.main)(arguments)


def two_stages(arguments):
    """As the recipe says; what the first stage leaves in memory is written down."""
    output = Path(arguments[1].removeprefix("output_dir="))
    release = run.release_trainer

    def release_trainer(trainer):
        release(trainer)
        gc.collect()
        left = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in _tensors()}
        (output / f"left-{RANK}.json").write_text(json.dumps(sum(left.values())))

    run.release_trainer = release_trainer
    train_hf.main(arguments)


def _tensors():
    return [each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]


def nan_on_one_rank(arguments):
    """The loss of process 1 is not a number at the third step."""
    compute_loss = C3Trainer.compute_loss

    def poisoned(self, *args, **kwargs):
        loss = compute_loss(self, *args, **kwargs)
        return loss * float("nan") if RANK == 1 and self.state.global_step == 2 else loss

    C3Trainer.compute_loss = poisoned
    train_hf.main(arguments)


def killed(arguments):
    """Every process is killed in its fourth step."""
    compute_loss = C3Trainer.compute_loss

    def dying(self, *args, **kwargs):
        if self.state.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute_loss(self, *args, **kwargs)

    C3Trainer.compute_loss = dying
    train_hf.main(arguments)


def other_recipe(arguments):
    """Process 1 has another recipe."""
    train_hf.main([*arguments, f"training.max_steps={10 + RANK}"])


def other_weights(arguments):
    """Process 1 begins with other weights, though they were made equal when the model was wrapped."""

    class Disturb(TrainerCallback):
        def on_train_begin(self, args, state, control, model, **kwargs):
            model.projector.linear_1.bias.data[0] += 1e-7 * RANK

    start = C3Trainer.__init__

    def disturbed(trainer, *args, **kwargs):
        start(trainer, *args, **kwargs)
        # Before the check.
        trainer.callback_handler.callbacks.insert(0, Disturb())

    C3Trainer.__init__ = disturbed
    train_hf.main(arguments)


if __name__ == "__main__":
    functions = (fsdp, exact, two_stages, nan_on_one_rank, killed, other_recipe, other_weights)
    {each.__name__: each for each in functions}[sys.argv[1]](sys.argv[2:])
