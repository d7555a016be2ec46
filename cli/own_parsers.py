"""Commands that read their own arguments, since these are known only once torch is imported."""

from collections.abc import Callable
from dataclasses import dataclass

from c3.support.allocator import keep_freed_memory
from c3.support.errors import needing


@dataclass(frozen=True)
class OwnParser:
    """
    Args:
        run: `(argv, prog) -> int or None`, the exit code.
        summary (`str`): for the list of commands.
    """

    run: Callable
    summary: str


def train(argv, prog):
    with needing("train"):
        from c3.training.command import train_command
    return train_command(argv, prog)


def evaluate(argv, prog):
    with needing("eval"):
        from c3.eval.command import evaluate
    keep_freed_memory()
    return evaluate(argv, prog)


def bench(argv, prog):
    with needing("bench"):
        from c3.benchmarks.command import bench
    return bench(argv, prog)


def compare(argv, prog):
    with needing("train"):
        from c3.training.like_for_like import compare
    return compare(argv, prog)


def publish(argv, prog):
    with needing("train"):
        from c3.training.publish.command import push_command
    return push_command(argv, prog)


def merge_lora(argv, prog):
    with needing("train"):
        from c3.training.publish.merge_lora import merge_command
    return merge_command(argv, prog)


def attach_adapter(argv, prog):
    with needing("train"):
        from c3.training.publish.attach_adapter import attach_command
    return attach_command(argv, prog)


OWN_PARSERS = {
    "train": OwnParser(train, "train a model by a recipe"),
    "eval": OwnParser(evaluate, "measure a checkpoint by a suite or by all, or write its card"),
    "bench": OwnParser(bench, "measure speed and memory against stated baselines"),
    "compare": OwnParser(compare, "train ways to make latents like for like, and measure them"),
    "publish": OwnParser(publish, "push a finished model, or pages for evaluation, to the Hub"),
    "merge-lora": OwnParser(merge_lora, "merge a LoRA adapter into its base"),
    "attach-adapter": OwnParser(attach_adapter, "let a checkpoint answer prompts with a LoRA adapter in it"),
}
