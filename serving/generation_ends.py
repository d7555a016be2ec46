"""What a server keeps of a model's generation settings: the ids that end a text."""

from transformers import GenerationConfig


def keep_only_ends(model):
    """
    Leaves a model's `generation_config` nothing but the ids that end a text, and pad: penalties that look back would
    not see what came before a batch was joined, and killed vLLM before 0.32 where prompts are embeddings.

    Args:
        model ([`C3Model`]): whose `generation_config` is replaced.

    Returns: `set[int]`, the ids that end a text.
    """
    ends, pad = end_ids(model), model.generation_config.pad_token_id
    model.generation_config = GenerationConfig(
        eos_token_id=sorted(ends) or None, pad_token_id=pad if pad is not None else min(ends, default=0)
    )
    return ends


def end_ids(model):
    """The ids that end a text, `set[int]`, of a model's `generation_config`."""
    ends = model.generation_config.eos_token_id
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
