"""A checkpoint goes on only as it began: with the same batches a step and, under ZeRO, the same shares."""

from c3.training.devices.distributed import LaunchError

# How tokens that are hidden, or random, are drawn: 1, by a generator for each window; 2, by one for each batch.
DRAWS = 2


def batch_layout(args):
    """`dict`: what a checkpoint notes of the processes of a run (`TrainingArguments`), and of how batches are drawn."""
    return {
        "processes": args.world_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "draws": DRAWS,
    }


def check_draws(checkpoint, then, recipe, say):
    """
    Tells of a checkpoint from before batches were drawn as they are now. It goes on: its windows are the same.

    Args:
        checkpoint (`str`), then (`dict`): see `check_batch_layout`.
        recipe ([`Recipe`]): of the stage that is to go on from it.
        say (`Callable[[str], None]`): is told.
    """
    is_random = recipe.dropout_windows > 0 or recipe.random_windows > 0
    if then.get("draws", 1) != DRAWS and is_random and "reconstruction" in recipe.text_objectives:
        say(
            f"{checkpoint} was written by a version of c3 that drew otherwise which tokens are hidden and which are "
            "random (dropout_windows, random_windows): from here on the windows are those of the run so far, but the "
            "losses are not to the digit what that version would have gone on with."
        )


def check_batch_layout(checkpoint, then, args):
    """
    Args:
        checkpoint (`str`): the folder, for the message.
        then (`dict`): what `batch_layout` gave when it was written.
        args (`TrainingArguments`): of the run that is to go on from it.

    Raises:
        LaunchError: a step would now hold more or fewer micro-batches, so that the data and the trace would be others,
            or ZeRO's shares were made for another number of processes.
    """
    now = batch_layout(args)
    per_step = [each["processes"] * each["gradient_accumulation_steps"] for each in (then, now)]
    divided = bool(args.deepspeed_plugin) and then["processes"] != now["processes"]
    if per_step[0] != per_step[1] or divided:
        raise LaunchError(
            f"{checkpoint} was written by {then['processes']} processes with gradient_accumulation_steps "
            f"{then['gradient_accumulation_steps']}, but now there are {now['processes']} with "
            f"{now['gradient_accumulation_steps']}: start as many"
            + (", as ZeRO's shares are theirs." if divided else ", or accumulate so that the product is the same.")
        )
