"""What the windows of a batch hold: token ids, what is hidden from the decoder, and what it is to say."""

import numpy as np
from torch.utils.data import Dataset

from .objectives import OBJECTIVES
from .specs import WindowSpecs


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
        self.reads_ids = processor.modality.reads_ids(processor)

    def __len__(self):
        # In tokens: the sampler, not an index, says what a window is.
        return sum(map(len, self.ids))

    def __getitem__(self, spec):
        """The [`TrainingExample`]."""
        return OBJECTIVES[spec.objective].example(spec, self)

    def __getitems__(self, specs):
        """
        Those of a batch, `list[TrainingExample]`, as a `DataLoader` asks for them.

        Args:
            specs (`Sequence[WindowSpec or RowSpec]`): what a batch of the sampler holds.
        """
        specs = specs[:]
        objective = specs.objective if isinstance(specs, WindowSpecs) else specs[0].objective
        return OBJECTIVES[objective].batch_examples(specs, self)

    def window(self, ids):
        """The [`TextWindow`] of a piece (`np.ndarray`) of the ids of a source."""
        return self.processor.window_of(ids.tolist())

    def alike(self, specs):
        """
        `list[slice]`: neighbours of a batch ([`WindowSpecs`]) that are laid out together. Where the encoder reads
        something else than the ids, it is each for itself: what `window` makes of ids that are alike need not be.
        """
        return specs.alike() if self.reads_ids else [slice(place, place + 1) for place in range(len(specs))]

    def tokens(self, source, start, length):
        """
        Stretches of the sources' ids, `np.ndarray` of shape `(windows, length)`; all three arguments are arrays of
        shape `(windows,)`, and all lengths are the same.
        """
        places = zip(source.tolist(), start.tolist(), (start + length).tolist(), strict=True)
        ids = np.concatenate([self.ids[number][first:end] for number, first, end in places])
        return ids.reshape(len(start), -1)

    def windows(self, ids):
        """
        What the encoder reads of each window that is `alike`, and the decoder's ids of their texts.

        Args:
            ids (`np.ndarray` of shape `(windows, length)`): see `tokens`.

        Returns: a sequence with one item for each, and `np.ndarray` of shape `(windows, length)`.
        """
        if self.reads_ids:
            return ids, ids
        (window,) = map(self.window, ids)
        return [window.context], np.array([window.text_ids])
