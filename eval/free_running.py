"""Free-running precision: from text to latents to text, decoding greedily; never teacher forcing, which flatters."""

from .metrics import precision


def free_running_scores(model, texts, ratios, batch_size=32):
    """
    Args:
        model (`C3Model`): the model, with its processor.
        texts (`list[str]`): texts to compress and give back.
        ratios (`list[float]`): text tokens (the model's own) per latent.

    Returns:
        `dict[float, list[float]]`: precision of each text, by ratio.
    """
    scores = {}
    for ratio in ratios:
        latents = model.compress(texts, ratio=ratio, batch_size=batch_size, show_progress=False)
        outputs = model.expand(latents, batch_size=batch_size, show_progress=False)
        outputs = [outputs] if isinstance(outputs, str) else outputs
        scores[ratio] = list(map(precision, texts, outputs))
    return scores
