"""What the windows of a batch hold: token ids, what is hidden from the decoder, and what it is to say."""

import numpy as np
from torch.utils.data import Dataset

from .objectives import OBJECTIVES


def random_token_ids(tokenizer):
    """
    `np.ndarray` of token ids to draw random tokens from: half of the draws fall on the vocabulary at large, half on its
    single characters, with which a byte-level tokenizer spells whatever is rare in the training text.
    """
    single = [index for token, index in tokenizer.get_vocab().items() if len(token) == 1]
    size = len(tokenizer)
    return np.concatenate([np.arange(size), np.resize(sorted(single), size if single else 0)])


class WindowDataset(Dataset):
    """
    Training examples by `WindowSpec` and `RowSpec`, as their objectives make them (`objectives.py`).

    Args:
        ids (`list[np.ndarray]`): the decoder's token ids of each source.
        processor ([`C3Processor`]): makes windows and rows of them.
        dropout_windows, random_windows (`float`), dropout_halved_above (`float`, *optional*): see [`Reconstruction`].
        rows (`dict[str, InstructionExamples]`, *optional*): those of objectives with rows of their own, by name.
    """

    def __init__(
        self,
        ids,
        processor,
        dropout_windows=0.0,
        random_windows=0.0,
        dropout_halved_above=None,
        rows=None,
    ):
        self.ids, self.processor, self.rows = ids, processor, rows or {}
        self.dropout_windows, self.dropout_halved_above = dropout_windows, dropout_halved_above
        self.random_windows = random_windows
        self.random_ids = random_token_ids(processor.tokenizer)

    def __len__(self):
        # In tokens: the sampler, not an index, says what a window is.
        return sum(map(len, self.ids))

    def __getitem__(self, spec):
        """The [`TrainingExample`]."""
        return OBJECTIVES[spec.objective].example(spec, self)

    def window(self, ids):
        """The [`TextWindow`] of a piece (`np.ndarray`) of the ids of a source."""
        return self.processor.window_of(ids.tolist())
