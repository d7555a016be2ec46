"""A checkpoint goes on only as it began: with the same batches a step and, under ZeRO, the same shares."""

from c3.training.devices.distributed import LaunchError


def batch_layout(args):
    """`dict`: what a checkpoint notes of the processes of a run (`TrainingArguments`)."""
    return {"processes": args.world_size, "gradient_accumulation_steps": args.gradient_accumulation_steps}


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
