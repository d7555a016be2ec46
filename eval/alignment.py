"""Where in a text the errors are: accuracy by relative position, aligned by edit operations and not by index."""

import numpy as np
from rapidfuzz.distance import Levenshtein


def kept_characters(reference, output):
    """
    Which characters of the reference the output has in the same place of an optimal alignment (Levenshtein's edit
    operations): one character that is left out costs itself, and not all that follow it as a comparison by index would.

    Returns: `np.ndarray` of `bool`, `(len(reference),)`.
    """
    kept = np.zeros(len(reference), dtype=bool)
    for operation in Levenshtein.opcodes(reference, output):
        if operation.tag == "equal":
            kept[operation.src_start : operation.src_end] = True
    return kept


def accuracy_by_position(reference, output, num_bins):
    """
    Share of characters kept in each of `num_bins` equal stretches of the reference, from its start to its end.

    Returns: `list[float | None]`; None for the stretches that hold no character of a text shorter than `num_bins`.
    """
    kept = kept_characters(reference, output)
    bins = np.arange(len(kept)) * num_bins // max(1, len(kept))
    return [float(kept[bins == i].mean()) if (bins == i).any() else None for i in range(num_bins)]
