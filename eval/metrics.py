"""Metrics of reconstruction."""

from rapidfuzz.distance import Levenshtein


def precision(reference, output):
    """
    1 - normalised edit distance over characters: 1 - Levenshtein(reference, output) / max(len(reference), len(output)).

    This is what users of C3 (arXiv 2511.15244) take for its "precision", which the paper names but does not define.

    Args:
        reference (`str`): the text.
        output (`str`): what the model gave back.

    Returns: `float` between 0 and 1; 1 for two empty strings.
    """
    return Levenshtein.normalized_similarity(reference, output)
