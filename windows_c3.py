"""How a text is cut into windows, and how many latents each window gets."""

import math
from collections.abc import Sequence
from itertools import accumulate


class LazySequence(Sequence):
    """A sequence of `length` items that are made, `make(index)`, when they are asked for, and not kept."""

    def __init__(self, make, length):
        self._make = make
        self._length = length

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        places = range(self._length)[index]
        return [self._make(i) for i in places] if isinstance(index, slice) else self._make(places)


def even_windows(length, num_latents, window):
    """
    Windows in which every latent stands for equally many tokens, a whole number: with the uniform layout all latents of
    a window then sit alike among their tokens, which is what is trained.

    Args:
        length (`int`): tokens of the text.
        num_latents (`int`): latents of the text; at least one per window and at most one per token are given.
        window (`int`): most tokens of a window.

    Returns:
        `list[tuple[int, int]]`: tokens and latents of each window. The tokens per latent of two windows differ by at
        most one, and the windows of each kind are about equally long.
    """
    num_latents = min(max(num_latents, math.ceil(length / window)), length)
    shorter, num_longer = divmod(length, num_latents)
    plan = []
    for tokens_per_latent, count in ((shorter + 1, num_longer), (shorter, num_latents - num_longer)):
        num_windows = math.ceil(count / (window // tokens_per_latent)) if count else 0
        for i in range(num_windows):
            n = count * (i + 1) // num_windows - count * i // num_windows
            plan.append((n * tokens_per_latent, n))
    return plan


def check_windows(latent_lengths, text_lengths, most_latents, most_tokens, one_each=False):
    """
    Raises `ValueError` unless every window is one that a model can have made.

    Args:
        latent_lengths, text_lengths (`list[int]`): latents and text tokens of each window.
        most_latents, most_tokens (`int`): of a window.
        one_each (`bool`): whether a window has no more latents than tokens.
    """
    for i, (latents, tokens) in enumerate(zip(latent_lengths, text_lengths, strict=True)):
        for name, count, most in (("latents", latents, most_latents), ("text tokens", tokens, most_tokens)):
            if not 1 <= count <= most:
                raise ValueError(f"window {i} has {count} {name}, but this model's windows have 1 to {most}")
        if one_each and latents > tokens:
            raise ValueError(f"window {i} has {latents} latents for {tokens} text tokens, but this model's no more")


def share_latents(lengths, num_latents):
    """
    Shares the latents of a text out among windows that are already cut.

    Args:
        lengths (`list[int]`): tokens of each window.
        num_latents (`int`): latents of the text; at least one per window is given.

    Returns: `list[int]`, N of each window, in proportion to its tokens.
    """
    text_length = sum(lengths)
    num_latents = max(len(lengths), num_latents)
    ends = [round(num_latents * seen / text_length) for seen in accumulate(lengths)]
    counts = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    # A short last window may be left with none: it takes one from the richest near it.
    for i, count in enumerate(counts):
        if count == 0:
            counts[max(range(len(counts)), key=lambda j: (counts[j], j))] -= 1
            counts[i] = 1
    return counts
