"""Shards of a data set in many processes, or on many machines, by Ray Data."""

from c3.support.errors import UserError, pip_install

from .compressor import ShardCompressor
from .shards import Shard, ShardFolder


def compress_with_ray(shards, model, options, address, load, workers, cluster=None, threads=1):
    """
    Sees that Ray has what the workers need, and returns an iterator, which has them work: of the entries of shards as
    they are finished, in any order.

    Args:
        shards (`list[Shard]`): what is left to do.
        model, options (`dict`): see [`ShardCompressor`].
        address (`str`): of the [`ShardFolder`], which every machine can reach.
        load: `() -> datasets.Dataset`, called once by each worker.
        workers (`int`): processes, each with the model; each takes a GPU where the model is on one.
        cluster (`str`, *optional*): address of a running cluster, such as `auto`; else one is begun on this machine.
        threads (`int`): CPU cores of each.

    Raises:
        UserError: Ray is not installed, or has fewer cores than the workers need, which would never begin.
    """
    try:
        import ray
    except ImportError:
        raise UserError(f"--ray needs Ray: {pip_install('ray')}") from None
    if not ray.is_initialized():
        ray.init(address=cluster, include_dashboard=False, log_to_driver=False, configure_logging=False)
    gpus = 1 if str(model["device"] or "").startswith("cuda") else 0
    there = ray.cluster_resources()
    for kind, each in (("CPU", threads), ("GPU", gpus)):
        # Ray Data's own tasks need a core beside the workers.
        needed = workers * each + (kind == "CPU")
        if each and there.get(kind, 0) < needed:
            raise UserError(
                f"--ray {workers} needs {needed} {kind}s of Ray, one of them for Ray itself, and there are "
                f"{there.get(kind, 0):g}: give fewer workers"
            )
    return _work(shards, model, options, address, load, workers, threads, gpus)


def _work(shards, model, options, address, load, workers, threads, gpus):
    import ray

    class Worker:
        """Ray gives it one row at a time: a shard."""

        def __init__(self):
            self.compressor = ShardCompressor(model, options, ShardFolder(address), load())

        def __call__(self, row):
            return {"entry": self.compressor(Shard(row["number"], row["start"], row["rows"]))}

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([{"number": s.number, "start": s.start, "rows": s.rows} for s in shards])
    # A block for each shard, so that those which are finished are told at once.
    rows = rows.repartition(len(shards)).map(
        Worker, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=threads, num_gpus=gpus
    )
    for row in rows.iter_rows():
        yield row["entry"]
