"""Whether margins find wrong characters: measured against counting pairs, and against texts that are known."""

import math

import numpy as np
import pytest

from c3 import ExpandedText, ExpandedWindow
from c3.eval.uncertainty import area_under_curve, character_margins, precision_and_recall, wrong_characters


def test_area_is_the_share_of_ordered_pairs():
    draw = np.random.default_rng(0)
    for values in (3, 50, 10**6):
        scores, positive = draw.integers(0, values, 200).astype(float), draw.random(200) < 0.2
        scores[positive] += values / 5
        scores[:3] = -math.inf
        pairs = [(high > low) + (high == low) / 2 for high in scores[positive] for low in scores[~positive]]
        assert area_under_curve(scores, positive) == pytest.approx(np.mean(pairs))
        assert area_under_curve(-scores, positive) == pytest.approx(1 - np.mean(pairs))
    assert area_under_curve(np.array([1.0, 2, 3]), np.array([False, False, True])) == 1
    assert math.isnan(area_under_curve(np.ones(2), np.zeros(2, dtype=bool)))


def test_precision_and_recall():
    found, positive = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([1, 0, 0, 1, 0], dtype=bool)
    assert precision_and_recall(found, positive) == (1 / 3, 1 / 2)
    assert precision_and_recall(positive, positive) == (1, 1)
    precision, recall = precision_and_recall(np.zeros(5, dtype=bool), positive)
    assert math.isnan(precision) and recall == 0


def test_wrong_characters_are_those_of_the_output():
    assert wrong_characters("the cat sat", "the cut sat!").nonzero()[0].tolist() == [5, 11]
    assert wrong_characters("the cat", "the t").tolist() == [False] * 5
    assert wrong_characters("", "ab").tolist() == [True] * 2 and wrong_characters("ab", "").size == 0


def test_margins_of_characters():
    """The least certain token that a character has bytes of, also where it began in the window before."""
    windows = [
        ExpandedWindow([1, 2], [9.0, 3.0], "ab", [(0, 2), (2, 3)]),
        ExpandedWindow([3, 4], [5.0, math.inf], "éf", [(0, 1), (1, 2)]),
    ]
    expanded = ExpandedText(windows)
    assert character_margins(expanded).tolist() == [9, 9, 3, math.inf]
    for below in (2, 4, 6, 10):
        spans = expanded.uncertain_spans(below)
        marked = {place for start, end in spans for place in range(start, end)}
        assert marked == set((character_margins(expanded) < below).nonzero()[0].tolist())
