"""How well a decoder's margins tell which characters of what came back are wrong: the area under the ROC curve, and
precision and recall of the characters below a margin."""

from math import inf

import numpy as np

from .alignment import kept_characters


def character_margins(expanded):
    """
    The smallest margin of the tokens that hold a byte of each character, `np.ndarray` of shape `(len(text),)`; infinite
    for a character of no token.

        margins = character_margins(model.expand(latents, return_scores=True))

    Args:
        expanded ([`ExpandedText`]): with scores.
    """
    margins, start = np.full(len(expanded.text), inf), 0
    for window in expanded.windows:
        for margin, (first, last) in zip(window.margins, window.token_spans, strict=True):
            here = margins[start + first : start + last]
            np.minimum(here, margin, out=here)
        start += len(window.text)
    return margins


def wrong_characters(reference, output):
    """
    Which characters of the output an optimal alignment with the reference has no partner for: `np.ndarray` of `bool`,
    `(len(output),)`. Characters that are missing from the output are at no place of it.
    """
    return ~kept_characters(output, reference)


def area_under_curve(scores, is_positive):
    """
    The area under the ROC curve, `float`: the chance that a positive has the higher score of a positive and a negative,
    where equal scores count half; NaN without both. `area_under_curve(-margins, is_wrong)`.

    Args:
        scores (`np.ndarray` of shape `(n,)`): without NaN.
        is_positive (`np.ndarray` of `bool`, `(n,)`): what high scores should find.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return float("nan")
    above = ranks[is_positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def precision_and_recall(is_found, is_positive):
    """
    Of what was found the share that is positive, and of the positives the share that was found, two `float`; NaN for a
    share of none. `precision_and_recall(margins < 2, is_wrong)`, both `np.ndarray` of `bool`, `(n,)`.
    """
    both = int((is_found & is_positive).sum())
    return tuple(both / count if (count := int(each.sum())) else float("nan") for each in (is_found, is_positive))
