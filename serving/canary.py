"""A request at the start whose tokens are known: whether a backend answers as the model itself does."""

import asyncio
from contextlib import aclosing

import torch

from c3.support.errors import CommandError
from c3.window_decoding_c3 import prompt_embeds

from .backends import Sampling
from .errors import ApiError
from .generation_ends import end_ids

TEXT = "In the spring of the year the river rose above the meadows, and nobody crossed it before May."
PROMPTS = ("When? ", "Who crossed the river, and in what month of that year did they do it? ")
NEW_TOKENS = 8


def check_canary(model, backend):
    """
    Asks a backend about latents, several prompts of different lengths at once.

        check_canary(model, TransformersBackend(model))

    Args:
        model ([`C3Model`]): the model; its `generate` says what is right.
        backend ([`Backend`]): answers with its decoder.

    Raises:
        CommandError: the answers are others, or there are none.
    """
    model = model.answering()
    latents = model.compress(TEXT, show_progress=False)
    # In half precision rows that are padded may round otherwise, and other tokens be the likeliest.
    prompts = PROMPTS if model.dtype == torch.float32 else PROMPTS[1:]
    inputs = [
        prompt_embeds(model, [model.processor.row(latents[0].spans[0], prompt)], latents.values) for prompt in prompts
    ]
    expected = [_plain(model, each) for each in inputs]

    async def ask(embeds):
        async with aclosing(backend.answer(embeds, Sampling(NEW_TOKENS))) as tokens:
            return [token async for token in tokens]

    async def ask_all():
        return await asyncio.gather(*(ask(each["inputs_embeds"][0]) for each in inputs))

    try:
        found = asyncio.run(ask_all())
    except ApiError as error:
        raise CommandError(f"the backend does not answer: {error}") from error
    if found != expected:
        raise CommandError(
            f"the backend does not answer as the model does, with tokens {found} instead of {expected}: it must not "
            "serve it"
        )


def _plain(model, inputs):
    ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)[0].tolist()
    ends = end_ids(model)
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]
