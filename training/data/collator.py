"""Batches of training examples as inputs of the model."""

from c3.decoder_rows_c3 import learned_length
from c3.placeholders_c3 import Placeholders


class C3Collator:
    """
    Batches of [`TrainingExample`], all of one objective, to inputs of `C3Model.forward`.

    Args:
        processor ([`C3Processor`]): builds the ids and positions.
        pack (`bool`): whether windows of unlike lengths share rows, see `packing_c3.py`.
    """

    def __init__(self, processor, pack=False):
        self.processor, self.pack = processor, pack

    def __call__(self, examples):
        """
        `dict` of `context_inputs`, `decoder_inputs` with labels, the [`Placeholders`] of both, and the `logits_to_keep`
        that cover the labels.
        """
        contexts = [context for example in examples for context in example.contexts]
        counts = [n for example in examples for n in example.num_latents]
        processor = self.processor
        context = dict(processor.context_inputs(contexts, counts, self.pack))
        batch = processor.modality.places(processor, context)
        rows = processor.decoder_inputs([example.row for example in examples])
        batch |= rows
        # What a GPU would else be waited for, in every step, to be read there.
        batch["latent_places"] = Placeholders.find(rows["input_ids"], rows["attention_mask"], processor.latent_token_id)
        # The position before the first label predicts it.
        batch["logits_to_keep"] = max(learned_length(example.row) for example in examples) + 1
        return batch
