"""Whether texts come back exactly, by ways that are drawn at random."""

import torch

from c3 import C3Latents, InexactTextError

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
METHODS = [None, "greedy", "parallel"]

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


def expanded(draw, model, latents):
    """The texts, by a way that is drawn."""
    methods = METHODS if model.config.use_mask_embedding else METHODS[:-1]
    options = {"method": draw.choice(methods), "batch_size": draw.randrange(1, 20), "allow_mismatch": True}
    if draw.random() < 0.8:
        return model.expand(latents, show_progress=False, **options)
    texts = [""] * len(latents)
    for index, piece in model.expand(latents, stream=True, show_progress=False, **options):
        texts[index] += piece
    return texts


def assert_exact(draw, texts, makers, readers, folder, ratios=(1, 64)):
    """
    Asserts that texts come back byte for byte, or are said not to where another model than the one that compressed them
    expands them.

        assert not assert_exact(random.Random(0), texts, [model], [model], tmp_path)

    Args:
        draw (`random.Random`): draws how they are compressed, batched, kept and expanded.
        texts (`list[str]`): the texts.
        makers, readers (`list[C3Model]`): which may compress them, which may expand them.
        folder (`Path`): for their latents.
        ratios (`tuple[float, float]`): the lowest and the highest.

    Returns: `int`, of how many texts it is said.
    """
    maker, reader = draw.choice(makers), draw.choice(readers)
    window = draw.choice([None, None, None, draw.randrange(1, 100), draw.randrange(1, 512)])
    window = window and min(window, maker.config.window)
    latents = maker.compress(
        texts,
        ratio=draw.uniform(*ratios),
        window=window,
        batch_size=draw.randrange(1, 20),
        dtype=draw.choice([None, *DTYPES]),
        exact=True,
        show_progress=False,
    )
    latents, texts = draw.choice(CHANGES)(draw, latents, texts, folder)
    try:
        found = expanded(draw, reader, latents)
    except InexactTextError:
        assert maker is not reader
        return sum(is_said_inexact(reader, each, text) for each, text in zip(latents, texts, strict=True))
    for text, each in zip(texts, found, strict=True):
        assert each.encode() == text.encode()
    return 0


def is_said_inexact(model, latents, text):
    """Whether a text, by itself, is said not to have come back."""
    try:
        assert model.expand(latents, allow_mismatch=True).encode() == text.encode()
    except InexactTextError as error:
        print(f"{error!s:.40} {text!r:.80}")  # for whoever looks for the reason
        return True
    return False
