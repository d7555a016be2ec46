"""
Training batches, made in one process on one core: text tokens a second.

Baseline: the same windows one by one, each with a generator and a row of its own, as an objective's `example` makes
them. Floor: 1. What is to be reached is said in tokens a second, because that is what an accelerator takes: 2 million
with the curriculum of `configs/c3_mini_longer.yaml` and its 65 536 tokens a batch. The other cases have one window
length and one ratio each.
"""

import numpy as np
import torch
import yaml

from c3 import C3Processor
from c3.support.loading import PACKAGE
from c3.training.data.collator import C3Collator
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.documents import blocks_of
from c3.training.data.examples import WindowDataset
from c3.training.data.pools import BatchPool
from c3.training.data.sampler import CurriculumSampler

from .harness import Benchmark, at_least, check_row, ratio_row, value_row

RECIPE = PACKAGE / "configs" / "c3_mini_longer.yaml"
DOCUMENT = 8000  # tokens


def measure(setup):
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    # Whatever the model's size, it has the default checkpoint's.
    processor = C3Processor.from_pretrained(PACKAGE)
    collate = C3Collator(processor, pack=True)
    documents = setup.pick(128, 1)
    ids = np.resize(processor.encode(setup.text(setup.pick(100_000, 4_000))), documents * DOCUMENT)
    dataset = WindowDataset([ids], processor, recipe["dropout_windows"], recipe["random_windows"])

    def together(batches, dataset=dataset):
        return [collate(dataset.__getitems__(specs)) for specs in batches]

    def one_by_one(batches, dataset=dataset):
        return [collate([dataset[spec] for spec in specs]) for specs in batches]

    mix = [Phase(**phase) for phase in recipe["curriculum"]]
    cases = {"the recipe's curriculum": (mix, setup.pick(8, 4), at_least(2))}
    for window, ratio in ((64, 4), (64, 20), (512, 4), (512, 20)):
        cases[f"windows of {window} at {ratio}x"] = ([Phase(1.0, [window], [ratio, ratio])], 2, None)
    rows = []
    for case, (phases, count, limit) in cases.items():
        sampler = _sampler(phases, documents, count, setup.pick(recipe["tokens_per_batch"], 512))
        # Sampled anew each time, which is a part of it.
        seconds = setup.alternate(
            lambda sampler=sampler: together(map(sampler.batch, range(len(sampler)))),
            lambda sampler=sampler: one_by_one(map(sampler.batch, range(len(sampler)))),
        )
        rows.append(ratio_row(case, seconds, "speed"))
        tokens = sum(int(sampler.batch(index).length.sum()) for index in range(len(sampler)))
        speed = tokens / rows[-1]["ours"]["median"] / 1e6
        rows.append(value_row(f"{case}, {tokens} tokens", speed, " million tokens/s", limit))
    # Of the first case, with nothing random, which each way draws in its own order.
    plain, batches = WindowDataset([ids], processor), list(map(_sampler(mix, documents, 4, 512).batch, range(4)))
    pairs = zip(together(batches, plain), one_by_one(batches, plain), strict=True)
    equal = [
        torch.equal(each, theirs[name]) if torch.is_tensor(each) else each == theirs[name]
        for ours, theirs in pairs
        for name, each in ours.items()
    ]
    return [*rows, check_row("tensors of batches as of windows one by one", sum(equal) / len(equal))]


def _sampler(phases, documents, num_batches, tokens_per_batch):
    """[`CurriculumSampler`] of so many batches from so many documents."""
    longest = max(window for phase in phases for window in phase.windows)
    blocks = np.insert(blocks_of([DOCUMENT] * documents, longest), 0, 0, axis=1)
    return CurriculumSampler(Curriculum(phases, num_batches), [BatchPool(blocks, blocks[:, 2], tokens_per_batch)])


BENCHMARK = Benchmark("training batches made by array operations against windows one by one", measure)
