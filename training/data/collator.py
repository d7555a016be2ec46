"""Batches of training examples as inputs of the model."""

import torch


class C3Collator:
    """
    Batches of `WindowDataset` items, all of one objective, to inputs of `C3Model.forward`.

    Args:
        processor ([`C3Processor`]): builds the ids and positions.
        mask_token_id (`int`): placeholder of a hidden input token.
        pack (`bool`): whether windows of unlike lengths share rows, see `packing_c3.py`.
    """

    def __init__(self, processor, mask_token_id, pack=False):
        self.processor, self.mask_token_id, self.pack = processor, mask_token_id, pack

    def __call__(self, examples):
        """`dict` of `context_inputs`, `prompt_inputs` with labels, and the `logits_to_keep` that cover the labels."""
        windows = [window for example in examples for window in example["windows"]]
        batch = self.processor.context_inputs([ids for ids, *_ in windows], [n for _, n, _ in windows], self.pack)
        prompts = [example["prompt"] for example in examples]
        replays_text = prompts[0] is None
        spans = [[(n, text_length) for _, n, text_length in example["windows"]] for example in examples]
        batch.update(
            self.processor.prompt_inputs(
                spans,
                prompts=None if replays_text else prompts,
                targets=[example["target"] for example in examples],
                labels=[example["labels"] for example in examples],
            )
        )
        for row, example in enumerate(examples):
            hidden = torch.from_numpy(example["hidden"])
            # The last token is never an input, only a label: hiding it changes nothing.
            batch["input_ids"][row, -len(hidden) :][hidden] = self.mask_token_id
        # The position before the first label predicts it.
        batch["logits_to_keep"] = max(len(example["target"]) for example in examples) + 1
        return dict(batch)
