"""
Metrics of reconstruction: every one takes (reference, output), two strings, and gives a number between 0 and 1.

The word metrics at the end cut words as `words.py` says: at white space, and with jieba where the reference holds
Chinese. `all_scores` gives all of them at once.
"""

import math
import re
from collections import Counter

import numpy as np
from rapidfuzz.distance import LCSseq, Levenshtein

from .words import is_chinese, split_words


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


def rouge_l(reference, output):
    """
    Sentence-level ROUGE-L (Lin 2004), F with beta 1, on lower-cased words without punctuation, as Google's
    `rouge_score` counts it without its stemmer; but a letter of any script counts, and Chinese is cut by jieba. For
    the words as they stand, with case and punctuation, read `token_f1`.

    Returns: `float` between 0 and 1; 1 if neither has a word.

    Raises: `ValueError` for a Chinese reference without jieba.
    """
    chinese = is_chinese(reference)
    reference, output = (
        [part for word in split_words(text.lower(), chinese) for part in re.findall(r"[^\W_]+", word)]
        for text in (reference, output)
    )
    if not reference and not output:
        return 1.0
    return 2 * LCSseq.similarity(reference, output) / (len(reference) + len(output))


def bleu(reference, output, max_order=4):
    """
    BLEU of one text against one reference (Papineni et al. 2002): the geometric mean of the clipped n-gram precisions,
    n = 1…4, times the brevity penalty exp(1 - reference words / output words) of an output that is shorter. No
    smoothing, so no common 4-gram means 0, as NLTK's `sentence_bleu` has it (which the Fox tool calls). In a text of
    fewer than 4 words, where that would make even the text itself score 0, n goes up to its number of words.

    Returns: `float` between 0 and 1; 1 if neither has a word.

    Raises: `ValueError` for a Chinese reference without jieba.
    """
    chinese = is_chinese(reference)
    reference, output = split_words(reference, chinese), split_words(output, chinese)
    if not reference or not output:
        return float(reference == output)
    log_sum, orders = 0.0, min(max_order, len(reference))
    for n in range(1, orders + 1):
        wanted, given = _n_grams(reference, n), _n_grams(output, n)
        matched = (wanted & given).total()
        if not matched:
            return 0.0
        log_sum += math.log(matched / given.total())
    return math.exp(log_sum / orders + min(0.0, 1 - len(reference) / len(output)))


def _n_grams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def fox_set_precision(reference, output):
    """
    Share of the output's different words that the reference has: |R & O| / |O| over *sets* of words, blind to order and
    to repetition.

    The Fox benchmark's `eval_ocr_test.py` (arXiv 2405.14295) means to report this and calls it with its arguments
    swapped: what it prints as "precision" is our `fox_set_recall`, and the other way round.

    Returns: `float` between 0 and 1; 0 for an output without words, 1 if neither has a word.

    Raises: `ValueError` for a Chinese reference without jieba.
    """
    reference, output = _word_sets(reference, output)
    return len(reference & output) / len(output) if output else float(not reference)


def fox_set_recall(reference, output):
    """Share of the reference's different words that the output has, |R & O| / |R|; see `fox_set_precision`."""
    reference, output = _word_sets(reference, output)
    return len(reference & output) / len(reference) if reference else float(not output)


def _word_sets(reference, output):
    chinese = is_chinese(reference)
    return set(split_words(reference, chinese)), set(split_words(output, chinese))


def bootstrap_interval(values, confidence=0.95, resamples=10_000, seed=0):
    """
    Percentile bootstrap interval of the mean (Efron 1979); the seed is fixed, so that a rerun gives the same numbers.

    Args:
        values (`list[float]`): one value per page, at least one.

    Returns: `tuple[float, float]`, low and high; of one value, twice that value.
    """
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


METRICS = {
    "precision": precision,
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "bleu": bleu,
    "fox_set_precision": fox_set_precision,
    "fox_set_recall": fox_set_recall,
}


def all_scores(reference, output):
    """Every metric of one text by name: `dict[str, float]`. Raises `ValueError` for Chinese without jieba."""
    return {name: float(metric(reference, output)) for name, metric in METRICS.items()}
