"""Batches of training examples as inputs of the model."""

from c3.decoder_rows_c3 import LatentSpan


class C3Collator:
    """
    Batches of `WindowDataset` items, all of one objective, to inputs of `C3Model.forward`.

    Args:
        processor ([`C3Processor`]): builds the ids and positions.
        pack (`bool`): whether windows of unlike lengths share rows, see `packing_c3.py`.
    """

    def __init__(self, processor, pack=False):
        self.processor, self.pack = processor, pack

    def __call__(self, examples):
        """`dict` of `context_inputs`, `decoder_inputs` with labels, and the `logits_to_keep` that cover the labels."""
        windows = [window for example in examples for window in example["windows"]]
        contexts, counts = [context for context, *_ in windows], [n for _, n, _ in windows]
        batch = self.processor.context_inputs(contexts, counts, self.pack)
        rows = [
            self.processor.row(
                [LatentSpan(n, text_length) for _, n, text_length in example["windows"]],
                example["prompt"],
                example["target"],
                example["labels"],
                example["hidden"],
            )
            for example in examples
        ]
        batch.update(self.processor.decoder_inputs(rows))
        # The position before the first label predicts it.
        batch["logits_to_keep"] = max(len(example["target"]) for example in examples) + 1
        return dict(batch)
