"""The baseline of the benchmarks of `compress`: the encoder backbone alone, on the batches that `compress` gave it."""

import torch


def bare_encoder(model, calls):
    """
    Args:
        model (`C3Model`): the model.
        calls: what `recorded_calls` saw of its encoder.

    Returns:
        a function that runs the encoder's forward on ordinary ids in the same shapes, with the same padding; and the
        share of positions that were padding.
    """
    batches, positions, padding = [], 0, 0
    for _, kwargs in calls:
        embeds, mask = kwargs["inputs_embeds"], kwargs["attention_mask"]
        positions += embeds[..., 0].numel()
        # Any ids: which rows of the table are read does not change how long it takes.
        ids = torch.arange(embeds[..., 0].numel(), device=embeds.device).view(embeds.shape[:2])
        batches.append({"input_ids": ids % model.config.encoder_config.vocab_size})
        if torch.is_tensor(mask):  # else rows have no padding, see `mask_without_padding`
            batches[-1]["attention_mask"] = mask
            padding += int((mask == 0).sum())

    def forward():
        for batch in batches:
            model.encoder(**batch, use_cache=False)

    return forward, padding / positions
