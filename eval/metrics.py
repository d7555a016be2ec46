"""Metrics of reconstruction."""

import numpy as np
from rapidfuzz.distance import LCSseq, Levenshtein


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


def exact_match(reference, output):
    """
    Whether the output is the text, character for character: nothing is stripped, lower-cased or normalised, unlike in
    SQuAD's measure of this name (arXiv 1606.05250), since a reconstruction has to give back all of the text.

    Returns: `bool`.
    """
    return reference == output


def token_f1(reference, output):
    """
    F1 over words in order: with L the length of the longest common subsequence of the words (split at white space),
    precision is L / output words, recall is L / reference words, and F1 is 2 L / (reference words + output words).

    This is the sentence-level ROUGE-L of Lin (2004, "ROUGE: A Package for Automatic Evaluation of Summaries"), beta 1,
    without stemming or lower-casing. SQuAD's token F1 (arXiv 1606.05250) counts bags of words and so cannot see a
    wrong order. In text without spaces, such as Chinese, whole lines are words: read `precision` there.

    Returns: `float` between 0 and 1; 1 if neither has a word.
    """
    reference, output = reference.split(), output.split()
    if not reference and not output:
        return 1.0
    return 2 * LCSseq.similarity(reference, output) / (len(reference) + len(output))


def bootstrap_interval(values, confidence=0.95, resamples=10_000, seed=0):
    """
    Percentile bootstrap interval of the mean (Efron 1979); the seed is fixed, so that a rerun gives the same numbers.

    Args:
        values (`list[float]`): one value per page, at least one.

    Returns: `tuple[float, float]`, low and high; of one value, twice that value.
    """
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
