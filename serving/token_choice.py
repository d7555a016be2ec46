"""The token that each row of a batch takes next: rows of one batch may be asked for in different ways."""

import secrets

import torch
from transformers import LogitsProcessor, TopPLogitsWarper

LEAST_TEMPERATURE = 1e-6


class TokenChoice(LogitsProcessor):
    """
    Leaves of the scores of a row that is sampled the token that was drawn, which a greedy `generate` then takes. Each
    row draws with its own generator: a seed gives the same tokens whatever else is in the batch.

        model.generate(**inputs, do_sample=False, logits_processor=LogitsProcessorList([TokenChoice(rows)]))

    Args:
        rows (`list`): each with `sampling` ([`Sampling`]), `generator` and `is_done`.
    """

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, input_ids, scores):
        for place, row in enumerate(self.rows):
            if row.sampling.temperature and not row.is_done:
                token = draw(scores[place : place + 1], row.sampling, row.generator)
                scores[place] = -torch.inf
                scores[place, token] = 0
        return scores


def draw(scores, sampling, generator):
    """
    A token, `int`.

    Args:
        scores (`torch.Tensor` of shape `(1, vocabulary)`): logits.
        sampling ([`Sampling`]): with a temperature above 0.
        generator (`torch.Generator`): on the device of the scores.
    """
    # From the largest on, so that no temperature, however low, makes infinities of them.
    scores = (scores - scores.max()) / max(sampling.temperature, LEAST_TEMPERATURE)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))


def make_generator(sampling, device):
    """The `torch.Generator` of a row on a device."""
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    return torch.Generator(device).manual_seed(seed)
