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
    batches = []
    for _, kwargs in calls:
        mask = kwargs["attention_mask"]
        # Any ids: which rows of the table are read does not change how long it takes.
        ids = torch.arange(mask.numel(), device=mask.device).view(mask.shape) % model.config.encoder_config.vocab_size
        batches.append({"input_ids": ids, "attention_mask": mask})
    positions = sum(each["attention_mask"].numel() for each in batches)
    kept = sum(int(each["attention_mask"].sum()) for each in batches)

    def forward():
        for batch in batches:
            model.encoder(**batch, use_cache=False)

    return forward, 1 - kept / positions
