"""Several processes as one training run: joining them, and proof that they are joined."""

import dataclasses
import hashlib
import json
import os
import socket

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from c3.training.checks import RunError

# In this order, because a launcher such as torchrun may itself be started by another one such as srun.
WORLD_SIZE_VARIABLES = (
    "WORLD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)
TIED_UNDER_FSDP = (
    "training.fsdp: encoder and decoder share one embedding table (model.tie_word_embeddings), which accelerate cannot "
    "shard: use training.deepspeed, or a model with two tables."
)


class LaunchError(RunError):
    """The processes of a run do not work together; the message says how to start them."""


def prepare_distributed(training):
    """
    Joins the processes where `TrainingArguments` would not: DeepSpeed on CPUs, and DeepSpeed in a single process that
    no launcher started. To be called before `TrainingArguments` are made; anything else is left to them.

    Args:
        training (`dict`): keywords of `TrainingArguments`.
    """
    if not training.get("deepspeed") and not _flag("ACCELERATE_USE_DEEPSPEED"):
        return
    if "LOCAL_RANK" not in os.environ and launcher_world_size() == 1:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone | {"MASTER_PORT": str(_free_port())})
    if training.get("use_cpu") or _flag("ACCELERATE_USE_CPU"):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed

        # This operator takes a minute and a compiler to build, and only DeepSpeed's inference uses it.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Otherwise DeepSpeed looks for MPI, and accelerate takes every process for the only one.
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)


def leave_distributed():
    """
    Ends the processes together. A process that left while another still writes would make the launcher kill that one.
    Not to be called after an error, because then the others are not waiting.
    """
    if _connected():
        dist.barrier()
        dist.destroy_process_group()


def release_trainer(trainer):
    """
    Ends a `Trainer`, so that another one can train in the same processes: DeepSpeed's engine takes its hooks and
    buffers off the model. The next `Trainer` needs `TrainingArguments` of its own, made before its model, and a model
    loaded anew, because under ZeRO the old one is left in pieces; save `plain_model.full_state_dict` first.
    """
    engine = getattr(trainer, "deepspeed", None)
    trainer.accelerator.free_memory()
    if engine is not None:
        # Under ZeRO-3 hooks of autograd keep model and optimizer alive, so their memory is taken from them.
        sharded, engine.optimizer = engine.optimizer, None
        sharded.optimizer.state.clear()
        for group in sharded.optimizer.param_groups:
            group["params"].clear()
        vars(sharded).clear()
        for parameter in trainer.model.parameters():
            parameter.grad = None
            for part in (parameter, getattr(parameter, "ds_tensor", parameter)):
                part.data = part.data.new_empty(0)
    trainer.model = trainer.model_wrapped = trainer.optimizer = trainer.lr_scheduler = trainer.deepspeed = None
    trainer.callback_handler.model = trainer.callback_handler.optimizer = trainer.callback_handler.lr_scheduler = None


def launcher_world_size():
    """`int`: how many processes the launcher says it started; 1 where there is none."""
    for name in WORLD_SIZE_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 1


def check_world_size(args, recipe=None):
    """
    Proves that the processes which were started are connected, so that no copies can train beside each other.

    Args:
        args (`TrainingArguments`): made after `prepare_distributed`.
        recipe (dataclass, *optional*): every process must have the same.

    Raises:
        LaunchError: the launcher, `torch.distributed` and accelerate do not count the same processes, they do not reach
            each other, or their recipes differ.
    """
    counts = {
        "the launcher": launcher_world_size(),
        "torch.distributed": dist.get_world_size() if _connected() else 1,
        "accelerate": args.world_size,
    }
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} counts {count}" for name, count in counts.items())
        raise LaunchError(
            f"These processes do not train together ({said}): each would be a run of its own. Start them with "
            "torchrun, accelerate launch or deepspeed; on CPUs set training.use_cpu: true."
        )
    if _flag("ACCELERATE_USE_CPU") and counts["the launcher"] == 1 and "MASTER_PORT" in os.environ:
        if "LOCAL_RANK" not in os.environ:
            raise LaunchError(
                "accelerate launch starts only one process on CPUs without MPI: start them with torchrun, or with "
                "accelerate launch --multi_gpu and training.use_cpu: true."
            )
    if args.world_size == 1:
        return
    reached = torch.ones(1, device=args.device)
    dist.all_reduce(reached)
    if int(reached) != args.world_size:
        raise LaunchError(f"{args.world_size} processes were started, but only {int(reached)} reach each other.")
    if recipe is not None:
        said = json.dumps(dataclasses.asdict(recipe), sort_keys=True, default=str)
        _check_equal("recipes", hashlib.sha256(said.encode()).hexdigest())


def check_engine(trainer):
    """
    Proves, once the `Trainer` has wrapped its model, that what wraps it is what was asked for, that it counts the same
    processes, and that all of them start with the same weights.

    Raises:
        LaunchError: one of these does not hold.
    """
    args, accelerator = trainer.args, trainer.accelerator
    kind = accelerator.distributed_type.value
    wanted = "DEEPSPEED" if args.deepspeed else "FSDP" if args.fsdp else None
    if wanted is not None and kind != wanted:
        hint = " accelerate shards models with FSDP on GPUs only." if wanted == "FSDP" else ""
        raise LaunchError(f"training.{wanted.lower()} was asked for, but accelerate made {kind}.{hint}")
    counts = {"accelerate": accelerator.num_processes, "TrainingArguments": args.world_size}
    if kind == "DEEPSPEED":
        counts["DeepSpeed"] = trainer.model_wrapped.dp_world_size
    elif (
        args.world_size > 1
        and kind != "FSDP"
        and not isinstance(trainer.model_wrapped, torch.nn.parallel.DistributedDataParallel)
    ):
        raise LaunchError(f"{args.world_size} processes were started, but nothing averages their gradients.")
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} counts {count}" for name, count in counts.items())
        raise LaunchError(f"These processes do not train together ({said}).")
    if kind == "FSDP" and trainer.model.config.tie_word_embeddings:
        raise LaunchError(TIED_UNDER_FSDP)
    if args.world_size > 1:
        _check_equal("weights", weights_digest(trainer.model))


class EngineCheck(TrainerCallback):
    """Runs `check_engine` when training begins."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        check_engine(self.trainer)


def weights_digest(model):
    """`str`: a hash of the bits of all parameters that this process holds whole, frozen ones too."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not is_partitioned(parameter):
            digest.update(f"{name} {torch.hash_tensor(parameter.detach()).view(torch.int64).item()}\n".encode())
    return digest.hexdigest()


def is_partitioned(parameter):
    """Whether this process holds only its share of a parameter (ZeRO-3, FSDP)."""
    return hasattr(parameter, "ds_tensor") or hasattr(parameter, "to_local")


def local_share(parameter):
    """`torch.Tensor`: what this process holds of a parameter, which is all of it unless ZeRO-3 or FSDP divide it."""
    if hasattr(parameter, "to_local"):
        return parameter.detach().to_local()
    return getattr(parameter, "ds_tensor", parameter).detach()


def all_agree(condition, device):
    """Whether `condition` holds in every process; all of them get the same answer, and all must ask."""
    return bool(least_of_all(int(bool(condition)), device))


def least_of_all(number, device):
    """The least of the processes' numbers (`int`); all of them get the same answer, and all must ask."""
    if not _connected():
        return number
    answer = torch.tensor(number, device=device)
    dist.all_reduce(answer, op=dist.ReduceOp.MIN)
    return int(answer)


def all_finite(model, device):
    """Whether every trained parameter is finite in every process, wherever its parts lie; all must ask."""
    return all_agree(
        all(torch.isfinite(local_share(each)).all() for each in model.parameters() if each.requires_grad), device
    )


def gather_objects(value):
    """`list`: `value` of every process, in the order of their ranks; all must ask."""
    if not _connected():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _check_equal(what, value):
    values = gather_objects(value)
    different = [rank for rank, each in enumerate(values) if each != values[0]]
    if different:
        raise LaunchError(f"The {what} of the processes {different} are not those of process 0.")


def _connected():
    return dist.is_available() and dist.is_initialized()


def _flag(name):
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
