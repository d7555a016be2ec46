"""Free-running precision while training, shared among the processes of a run."""

import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

from c3.eval.free_running import free_running_scores
from c3.training.devices.distributed import gather_objects


def shared_precision(model, texts, ratios, batch_size=32):
    """
    Means of `free_running_scores`, with the texts dealt out to the processes of a run. Every process must call it, and
    all get the same result. Each has equally many texts, some of them twice where they do not come out even, because
    under ZeRO-3 and FSDP all must run the model equally often.

    Returns:
        `dict[float, float]`: mean precision over the texts, by ratio.
    """
    if isinstance(model, FSDPModule):
        _gather_for_compression(model)
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    rounds = -(-len(texts) // world_size)
    mine = [texts[(rank + index * world_size) % len(texts)] for index in range(rounds)]
    shares = gather_objects(free_running_scores(model, mine, ratios, batch_size))
    means = {}
    for ratio in ratios:
        scores = [share[ratio][index] for index in range(rounds) for share in shares][: len(texts)]
        means[ratio] = sum(scores) / len(scores)
    return means


def _gather_for_compression(model):
    """FSDP gathers weights for `forward` only, unless it is told of other methods that use them."""
    for name in ("encode_context", "embed_prompt"):
        if name not in vars(model):
            register_fsdp_forward_method(model, name)
