"""
What answers: the contract of a backend. Latents have become embeddings before it sees them, and its tokens become text
after it, so that it needs to know nothing of either.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import torch

from .keys import ANYBODY


@dataclass(frozen=True)
class Sampling:
    """
    How tokens are chosen.

    Args:
        max_tokens (`int`): at most so many.
        temperature (`float`): 0 takes the likeliest token.
        top_p (`float`): of the likeliest tokens that have this share of the probability together, one is drawn.
        seed (`int`, *optional*): of the draws; by default another one each time.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Backend(Protocol):
    """Answers rows of embeddings. It is used in one event loop, by many requests at once."""

    def answer(self, embeds: torch.Tensor, sampling: Sampling, owner: str = ANYBODY) -> AsyncIterator[int]:
        """
        An asynchronous generator over the tokens that follow a row.

            async with aclosing(backend.answer(embeds, Sampling(max_tokens=64))) as tokens:
                async for token in tokens: ...

        Args:
            embeds (`torch.Tensor` of shape `(length, D_dec)`): finite; they stand at positions 0, 1, 2, …, and there is
                room for `max_tokens` after them.
            sampling ([`Sampling`]): how to choose.
            owner (`str`): of [`Keys`], who asks.

        Yields: `int`, up to the token that ends the text, which is not among them, or `max_tokens`. To close the
            generator before ends the work.

        Raises:
            ApiError: 503 or 429, too many wait already, see `check_share`.
        """

    async def close(self) -> None:
        """Ends all answers."""
