"""
Latents optimised for each text against the frozen decoder: the ceiling of what this decoder can read from so many
latents, whatever encoder writes them (Kuratov et al. 2025, "Cramming 1568 Tokens into a Single Vector").

The search starts at the encoder's latents and follows the teacher-forced loss of the text with Adam; the result is then
expanded greedily like any other.
"""

import dataclasses
from itertools import islice

import torch

from .c3 import compress_examples, expand_examples

LEARNING_RATE = 0.02


def reconstruct_with_optimised_latents(model, examples, options):
    parts = compress_examples(model, examples, options)
    parts = [_optimised(model, example.page.text, part, options) for example, part in zip(examples, parts, strict=True)]
    return expand_examples(model, parts, options)


def _optimised(model, text, latents, options):
    """The latents of one text after `options.steps` steps; keeps, for each batch, those with the lowest loss."""
    ids = iter(model.processor.encode(text))
    (spans,) = latents.spans
    rows = [model.processor.row([span], target=list(islice(ids, span.num_tokens))) for span in spans]
    values = []
    for start in range(0, len(rows), options.batch_size):
        chosen = slice(start, start + options.batch_size)
        batch = model.processor.decoder_inputs(rows[chosen]).to(model.device)
        values.append(_search(model, batch, torch.cat(latents.windows()[chosen]), options.steps))
    return dataclasses.replace(latents, values=torch.cat(values), check_finite=True)


def _search(model, batch, first, steps):
    best, lowest = first, float("inf")
    values = first.float().clone().requires_grad_()
    optimizer = torch.optim.Adam([values], lr=LEARNING_RATE)
    needed_grad = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.requires_grad_(False)
        with torch.enable_grad():
            for step in range(steps + 1):
                loss = model(**batch, latents=values.to(first.dtype), use_cache=False).loss
                if loss.item() < lowest:
                    best, lowest = values.detach().to(first.dtype).clone(), loss.item()
                if step < steps:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
    finally:
        for parameter, needed in needed_grad:
            parameter.requires_grad_(needed)
    return best
