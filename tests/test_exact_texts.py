"""
Whatever a text is, however its latents are made, kept, batched and expanded: it comes back byte for byte. Run: pytest
tests/test_exact_texts.py, and with `-m slow` for a thousand texts.
"""

import functools
import random
from pathlib import Path

import pytest
import torch

from c3 import C3Latents, C3Model, InexactTextError
from random_texts import random_length, random_text

ROOT = Path(__file__).parents[1]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
METHODS = [None, "greedy", "parallel"]
pytestmark = pytest.mark.filterwarnings("ignore::c3.CompressionWarning")


@pytest.fixture(scope="module")
def shipped():
    """The default checkpoint, `shipped(dtype, attention)`."""

    @functools.cache
    def load(dtype, attention="sdpa"):
        return C3Model.from_pretrained(ROOT, dtype=dtype, attn_implementation=attention)

    yield load
    load.cache_clear()


# What becomes of latents between `compress` and `expand`: other batches, another order, another place.


def kept(draw, latents, texts, folder):
    return latents, texts


def reordered(draw, latents, texts, folder):
    order = draw.sample(range(len(texts)), draw.randrange(1, len(texts) + 1))
    return latents[order], [texts[i] for i in order]


def joined(draw, latents, texts, folder):
    cut = draw.randrange(len(texts))
    return C3Latents.cat([latents[cut:], latents[:cut], *latents]), [*texts[cut:], *texts[:cut], *texts]


def stored(draw, latents, texts, folder):
    latents.save(folder / "texts.c3")
    return C3Latents.load(folder / "texts.c3")[::-1], texts[::-1]


CHANGES = [kept, reordered, joined, stored]


def expanded(draw, model, latents, thread_counts):
    """The texts, by a way that is drawn, on one of some numbers of threads."""
    options = {"method": draw.choice(METHODS), "batch_size": draw.randrange(1, 20), "allow_mismatch": True}
    threads = torch.get_num_threads()
    torch.set_num_threads(draw.choice(thread_counts))
    try:
        if draw.random() < 0.2:
            texts = [""] * len(latents)
            for index, piece in model.expand(latents, stream=True, **options):
                texts[index] += piece
            return texts
        return model.expand(latents, show_progress=False, **options)
    finally:
        torch.set_num_threads(threads)


def assert_exact(draw, texts, makers, readers, folder, most_ratio=64, thread_counts=(1,)):
    """
    Compresses texts with one of `makers`, and expands them with one of `readers`; returns how many of them could not be
    read, which they may not where both are the same model.
    """
    maker, reader = draw.choice(makers), draw.choice(readers)
    window = draw.choice([None, None, draw.randrange(1, maker.config.window + 1)])
    most_ratio = min(most_ratio, window or maker.processor.default_window)
    latents = maker.compress(
        texts,
        ratio=draw.uniform(1, most_ratio),
        window=window,
        batch_size=draw.randrange(1, 20),
        dtype=draw.choice([None, *DTYPES]),
        exact=True,
        show_progress=False,
    )
    latents, texts = draw.choice(CHANGES)(draw, latents, texts, folder)
    state = draw.getstate()
    try:
        found = expanded(draw, reader, latents, thread_counts)
    except InexactTextError:
        assert maker is not reader
        draw.setstate(state)
        return sum(inexact(draw, reader, each, text) for each, text in zip(latents, texts, strict=True))
    for text, each in zip(texts, found, strict=True):
        assert each.encode() == text.encode()
    return 0


def inexact(draw, model, latents, text):
    """Whether a text, by itself, is said not to have come back."""
    try:
        assert model.expand(latents, allow_mismatch=True).encode() == text.encode()
    except InexactTextError as error:
        print(f"{error!s:.40} {text!r:.80}")
        return True
    return False


def groups(count, seed, most):
    """Random texts of up to `most` bytes, in groups that are compressed together, each with a `random.Random`."""
    while count > 0:
        draw = random.Random(f"exact texts {seed} {count}")
        size = min(count, draw.randrange(1, 20))
        yield draw, [random_text(draw, random_length(draw, most)) for _ in range(size)]
        count -= size


def test_random_texts(shipped, tmp_path):
    models = [shipped(torch.float32), shipped(torch.bfloat16)]
    assert not sum(assert_exact(draw, texts, models, models, tmp_path) for draw, texts in groups(60, 0, 300))


@pytest.mark.slow
def test_a_thousand_random_texts(shipped, tmp_path):
    models = [shipped(dtype, attention) for dtype in DTYPES for attention in ("sdpa", "eager")]
    known = {"makers": models, "readers": models, "folder": tmp_path, "thread_counts": (1, 2)}
    assert not sum(assert_exact(draw, texts, **known) for draw, texts in groups(1000, 1, 1500))
