"""
Where the time of a training step goes, on the host and on the device.

    c3 bench train-step [--recipe configs/c3_mini_longer.yaml] [--steps 20] [--output FILE] [key=value …]

Two runs of the recipe on random text. `host`: a model of as many layers that is 32 wide, given one window of 64 tokens
a step, whose steps cost next to nothing but the host's work: the Python of the trainer and the dispatch of operations,
the same whatever a step's size. `step`: the recipe's own model and batches, on a CPU 4096 tokens of them. Of both the
milliseconds of the step and its parts (median), and of one step the operations that were dispatched and those that
wait for the device; on CUDA also the device's time of each part, the kernels and the synchronisations.

On a CPU times are the thread's own, so that what else the machine does does not count.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch

from c3.configuration_c3 import C3Config
from c3.modeling_c3 import C3Model
from c3.processing_c3 import C3Processor
from c3.support.arguments import Parser, whole_number
from c3.training.run.build import make_tokenizer, start_config

from .random_training import DEFAULT_RECIPE, random_recipe, random_trainer, run_facts
from .step_parts import StepClock

WARM_UP = 5
NARROW = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
FROM_FOLDER = ["model={}", "tokenizer=null", "init_from_pair=null", "stages=[]"]
# Tokens of the one window of a step, at most.
WINDOW, RATIO = 64, 16
# What two CPU cores do in a second.
CPU_BATCH = ["tokens_per_batch=4096"]


def measure_step(recipe_path, steps, overrides=(), warm_up=None):
    """
    Times the steps of a recipe.

    Returns: `dict` of milliseconds and counts, see `step_parts.StepClock`, and the text tokens of a step.
    """
    warm_up = WARM_UP if warm_up is None else warm_up
    with tempfile.TemporaryDirectory() as folder:
        # One step more, whose operations are counted.
        trainer = random_trainer(recipe_path, Path(folder), warm_up + steps + 1, overrides)
        clock = StepClock(trainer, profiled=warm_up + steps)
        trainer.train()
        tokens = trainer.state.num_input_tokens_seen / trainer.state.global_step
        found = clock.medians(warm_up) | {"counts": clock.counts, "tokens": tokens}
        if trainer.args.device.type == "cuda":
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
        return found


def measure_host(recipe_path, steps, overrides=(), warm_up=None):
    """As `measure_step`, of a narrow model and batches of one window."""
    with tempfile.TemporaryDirectory() as folder:
        window = _save_narrow_model(recipe_path, Path(folder), overrides)
        one = [
            f"tokens_per_batch={window}",
            f"curriculum=[{{until: 1.0, windows: [{window}], ratios: [{RATIO}, {RATIO}]}}]",
        ]
        return measure_step(recipe_path, steps, [*overrides, *one, *FROM_FOLDER, f"init_from={folder}"], warm_up)


def _save_narrow_model(recipe_path, folder, overrides):
    """Saves a model with the recipe's layers, but narrow, of random weights; returns the tokens of its window."""
    recipe = random_recipe(recipe_path, folder, 1, overrides)
    if recipe.init_from is None:
        tokenizer = make_tokenizer(recipe)
        config = recipe.model_config(len(tokenizer))
        processor = C3Processor.from_config(config, tokenizer)
    else:
        config, processor = start_config(recipe), C3Processor.from_pretrained(recipe.init_from)
    values = config.to_dict()
    for part in ("encoder_config", "decoder_config"):
        values[part] |= NARROW
    model = C3Model(C3Config.from_dict(values))
    model.processor = processor
    model.save_pretrained(folder)
    return min(WINDOW, config.window)


def measure_both(recipe_path, steps, overrides=()):
    """`dict` of the figures, as the command prints them."""
    on_gpu = torch.cuda.is_available()
    host = measure_host(recipe_path, steps, overrides)
    step = measure_step(recipe_path, steps, [*([] if on_gpu else CPU_BATCH), *overrides])
    return {"benchmark": "train_step", "host": host, "step": step} | run_facts(recipe_path, overrides, steps)


def train_step_command(argv, prog):
    """Runs the command; raises `OSError`, `ValueError` saying in one line what is wrong."""
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=str(DEFAULT_RECIPE))
    parser.add_argument("--steps", type=whole_number(1), default=20, help="timed steps")
    parser.add_argument("--output", help="a JSON file")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="of the recipe")
    args = parser.parse_intermixed_args(argv)
    report = json.dumps(_rounded(measure_both(args.recipe, args.steps, args.overrides)), indent=1)
    print(report)
    if args.output:
        Path(args.output).write_text(report + "\n", encoding="utf-8")


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value
