"""The command that trains: `python train_hf.py`, and `c3 train`."""

import argparse

from c3.quoting_c3 import printable_lines
from c3.support.arguments import Parser
from c3.support.errors import needing, one_line_errors
from c3.support.termination import cleaned_up_when_terminated

from .checks import RecipeError

SCRIPT = "train_hf.py"
DESCRIPTION = """Trains a C3 model with the Hugging Face `Trainer` from a recipe.

    {prog} configs/c3_laptop.yaml [training.max_steps=20 …] [--dry-run]

`torchrun`, `accelerate launch` and `deepspeed` start several processes of `train_hf.py`, see docs/training.md.

Started again after a kill at any moment, it goes on from the last whole checkpoint, with the same loss curve. Ended by
SIGTERM it removes what it has half written, and its exit status is 143.
"""


@cleaned_up_when_terminated()
def train_command(argv, prog):
    """
    Trains as the arguments say, or tells what would be trained.

    Args:
        argv (`list[str]` or None): a recipe, overrides and options; None for those of the process.
        prog (`str`): what the command is called.

    Raises:
        UserError: a package that training needs is not installed.
        RecipeError: a recipe that cannot be run.
        RunError: a run that cannot go on although its recipe is right.
    """
    arguments = _parser(prog).parse_intermixed_args(argv)  # options may stand between overrides
    with needing("train"):
        import accelerate  # noqa: F401  TrainingArguments needs it
        import datasets  # noqa: F401
        import matplotlib  # noqa: F401
        import xxhash  # noqa: F401
        import yaml  # noqa: F401

        from c3.training.devices.distributed import leave_distributed
        from c3.training.recipe.recipe_file import load_recipe
        from c3.training.run.dry_run import dry_run
        from c3.training.run.stages import train

    try:
        recipe = load_recipe(arguments.recipe, arguments.overrides)
        told = dry_run(recipe, arguments.devices) if arguments.dry_run else None
    except (OSError, ValueError) as error:
        raise RecipeError(str(error)) from error
    if told is not None:
        print(printable_lines(told))  # whose errors are not the recipe's
        return
    train(recipe)
    leave_distributed()


def main(argv=None):
    """`python train_hf.py`: as `train_command`, but errors are a line on standard error and an exit status."""
    with one_line_errors(SCRIPT):
        train_command(argv, SCRIPT)


def _parser(prog):
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=prog, description=DESCRIPTION.format(prog=prog), formatter_class=raw)
    parser.add_argument("recipe", help="a YAML file, see configs/")
    # With a default, without which argparse lists it among what is required.
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="for example training.max_steps=20"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained, and stop")
    parser.add_argument("--devices", type=int, metavar="N", help="for --dry-run: how many would train together")
    # What the launcher `deepspeed` adds; the environment says the same.
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    return parser
