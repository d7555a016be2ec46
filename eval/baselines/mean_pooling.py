"""
Mean pooling of the encoder's states, as Latent Context Language Models do (LCLM, arXiv 2606.09659): latent i of N is
the mean of the states of the i-th of N stretches of a window's text, see `mean_pool`.

It does itself justice only with a model that was trained with it (`pooling: mean` in its recipe), where it is the same
as `c3`. For a model that was trained with queries it is the untrained baseline: the encoder never learned to leave a
stretch of text in the mean of its states, and the decoder never learned to read one.
"""

import copy

import torch

from c3 import C3Latents
from c3.configuration_c3 import PLAIN_CONTEXT_TEMPLATE
from c3.eval.page_data import own_ratio

from .c3 import expand_examples

MEAN_POOLING = "mean-pooling"


def reconstruct_with_mean_pooling(model, examples, options):
    return expand_examples(model, pool_examples(model, examples, options), options)


def check_mean_pooling(model):
    """Raises `ValueError` where a [`C3Model`] reads anything but text."""
    kind = model.config.context_modality
    if kind != "text":
        raise ValueError(
            f"the baseline {MEAN_POOLING} takes means over tokens of text, and this model's context is {kind}: name "
            "other --methods or --baselines"
        )


@torch.no_grad()
def pool_examples(model, examples, options):
    """As `C3Model.compress`, but pooled: `list[C3Latents]`, one for each example, with the latents it asks for."""
    check_mean_pooling(model)
    # Whatever stands around a text in the encoder's input is left out: the means are of text alone.
    processor = copy.copy(model.processor)
    processor.context_template = PLAIN_CONTEXT_TEMPLATE
    plans = [
        processor.plan(each.page.text, ratio=own_ratio(each.page, each.latents), window=options.window)
        for each in examples
    ]
    contexts = [window.context for plan in plans for window in plan.windows]
    counts, values = [count for plan in plans for count in plan.num_latents], []
    for start in range(0, len(contexts), options.batch_size):
        chosen = slice(start, start + options.batch_size)
        batch = processor.context_inputs(contexts[chosen], counts[chosen])
        values.append(model.encode_context(**batch.to(model.device), pooling="mean"))
    together = C3Latents(
        values=torch.cat(values).to(torch.bfloat16),  # as those of `c3` are
        latent_lengths=torch.tensor(counts),
        text_lengths=torch.tensor([length for plan in plans for length in plan.windows.lengths]),
        window_counts=torch.tensor([len(plan.windows) for plan in plans]),
        provenance=model.latent_provenance(),
    )
    return list(together)
