"""Trains a C3 model with the Hugging Face `Trainer` from a recipe.

    python train_hf.py configs/c3_laptop.yaml [training.max_steps=20 …] [--dry-run]

The same command runs under `torchrun`, `accelerate launch` and `deepspeed`, see docs/training.md.

Started again after a kill at any moment, it goes on from the last whole checkpoint, with the same loss curve. Ended by
SIGTERM it removes what it has half written, and its exit status is 143.
"""

import argparse
import sys

try:
    import accelerate  # noqa: F401  TrainingArguments needs it
    import datasets  # noqa: F401
    import matplotlib  # noqa: F401
    import xxhash  # noqa: F401
    import yaml  # noqa: F401

    from c3.quoting_c3 import printable_lines
    from c3.support.termination import cleaned_up_when_terminated
    from c3.training.checks import RecipeError
    from c3.training.devices.distributed import LaunchError, leave_distributed
    from c3.training.publish.push import PublishError
    from c3.training.recipe.recipe_file import load_recipe
    from c3.training.run.full_disk import TrainingError
    from c3.training.run.stages import train
except ModuleNotFoundError as error:
    # From the checkout's folder, so that `.` is right.
    sys.exit(f"train_hf.py: {error}. Install c3 with what training needs: pip install -e .[train]")


@cleaned_up_when_terminated()
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a YAML file, see configs/")
    # With a default, without which argparse lists it among what is required.
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="for example training.max_steps=20"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained, and stop")
    parser.add_argument("--devices", type=int, metavar="N", help="for --dry-run: how many would train together")
    # What the launcher `deepspeed` adds; the environment says the same.
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(argv)  # options may stand between overrides
    try:
        recipe = load_recipe(arguments.recipe, arguments.overrides)
        if arguments.dry_run:
            from c3.training.run.dry_run import dry_run

            print(printable_lines(dry_run(recipe, arguments.devices)))
            return
    except (OSError, ValueError) as error:
        parser.exit(2, f"train_hf.py: {printable_lines(error)}\n")
    except (LaunchError, PublishError) as error:
        parser.exit(1, f"train_hf.py: {printable_lines(error)}\n")
    try:
        train(recipe)
    except RecipeError as error:
        parser.exit(2, f"train_hf.py: {printable_lines(error)}\n")
    except (LaunchError, PublishError, TrainingError) as error:
        parser.exit(1, f"train_hf.py: {printable_lines(error)}\n")
    leave_distributed()


if __name__ == "__main__":
    main()
