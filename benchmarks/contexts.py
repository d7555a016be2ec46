"""A context for `generate`, compressed and raw, as the benchmarks of answering need it."""

import torch

PROMPT = " What does the text say of the duty of nations?"
RATIO = 16


def context_lengths(setup):
    """Tokens of the contexts, `tuple[int]`: 64k only where it takes seconds, or is asked for."""
    lengths = setup.pick((1024, 4096, 16384), (64, 128))
    return (*lengths, 65536) if setup.long or (setup.device != "cpu" and not setup.smoke) else lengths


def context(setup, length):
    """
    Returns:
        [`C3Latents`] of a context of so many tokens, and `torch.LongTensor` of shape `(1, length + prompt)`: the ids
        of the context and of `PROMPT`.
    """
    processor = setup.model.processor
    ids = setup.tokens(length) + processor.turn(processor.encode(PROMPT))
    return setup.latents(length, RATIO), torch.tensor([ids], device=setup.model.device)


def generate_raw(model, ids, **options):
    """The decoder's own `generate` on the ids of context and prompt: what there is to do without latents."""
    return model.decoder.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, **options)
