"""Rows that the tests of backends have answered, and what is right."""

import asyncio
from contextlib import aclosing

from c3.serving.backends import Sampling
from c3.serving.keys import ANYBODY


def alone(model, embeds, count, **options):
    """What `generate` gives one row, `list[int]`."""
    options = {"do_sample": False} | options
    return model.generate(inputs_embeds=embeds[None], max_new_tokens=count, **options)[0].tolist()


async def ask(backend, embeds, max_tokens=12, after=0.0, owner=ANYBODY, **sampling):
    """The tokens of an answer, which is asked for after some seconds, `list[int]`."""
    await asyncio.sleep(after)
    async with aclosing(backend.answer(embeds, Sampling(max_tokens, **sampling), owner)) as tokens:
        return [token async for token in tokens]


def together(*waiting):
    """What comes of several coroutines that run at once, `list`."""

    async def gather():
        return await asyncio.gather(*waiting)

    return asyncio.run(gather())
