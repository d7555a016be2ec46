"""Training from data that are read on the way. Run: pytest tests/test_streaming.py"""

from itertools import islice

import datasets
import numpy as np
import pytest

from c3.training.curriculum import Curriculum, Phase
from c3.training.streaming import StreamedBatches
from tiny_models import TEXTS


@pytest.fixture
def processor(make_model):
    return make_model("uniform").processor


def make_batches(processor, texts, num_batches=60, seed=0, **options):
    stream = datasets.Dataset.from_dict({"text": texts}).to_iterable_dataset()
    curriculum = Curriculum([Phase(1.0, [8, 16], [2, 4])], num_batches, seed)
    return StreamedBatches(stream, curriculum, processor, block_size=16, tokens_per_batch=64, **options)


def contents(batches):
    return [[(each["windows"], each["target"], each["hidden"].tolist()) for each in batch] for batch in batches]


def test_the_order_depends_on_the_seed_alone(processor):
    texts = [text * (1 + i % 3) for i in range(30) for text in TEXTS]
    batches = contents(make_batches(processor, texts, dropout_windows=0.5))
    assert len(batches) == 60
    again = make_batches(processor, texts, dropout_windows=0.5)
    assert contents(again) == batches and contents(again) == batches
    assert contents(make_batches(processor, texts, seed=1, dropout_windows=0.5)) != batches
    for batch in batches:
        lengths = [len(target) for _, target, _ in batch]
        assert sum(lengths) <= 64 and max(lengths) <= 16


def test_processes_share_the_batches(processor):
    texts = TEXTS * 20
    whole = contents(make_batches(processor, texts))
    shares = [contents(make_batches(processor, texts, process_index=index, num_processes=2)) for index in range(2)]
    assert [batch for pair in zip(*shares, strict=True) for batch in pair] == whole


def test_small_data_are_read_again_and_again(processor):
    """Every text comes back in every epoch; those without words are counted once."""
    said = []
    batches = make_batches(processor, ["", TEXTS[1], None], num_batches=100, say=said.append)
    seen = sum(len(batch) for batch in batches)
    assert seen > 100
    assert batches.unusable.count == 2
    assert len(said) == 1 and said[0].startswith("Streamed documents: 1 without text (document ")


def test_nothing_to_read(processor):
    with pytest.raises(ValueError, match="the streamed data hold no text"):
        next(iter(make_batches(processor, ["", None])))


def test_every_block_comes_once_an_epoch(processor):
    texts = [TEXTS[0]] * 40
    length = len(processor.encode(TEXTS[0]))
    batches = islice(iter(make_batches(processor, texts, num_batches=10**6)), 40)
    targets = [len(target) for batch in contents(batches) for _, target, _ in batch]
    assert np.mean(targets) > 6 and length > 16
