"""Metrics against values worked by hand, and the `evaluate` metric. Run: pytest tests/eval/test_metrics.py"""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from c3.eval.metrics import (
    METRICS,
    all_scores,
    bleu,
    bootstrap_interval,
    exact_match,
    fox_set_precision,
    fox_set_recall,
    precision,
    rouge_l,
    token_f1,
)
from c3.eval.words import check_segmenter, is_chinese, split_words

HF_METRIC = Path(__file__).resolve().parents[2] / "eval" / "hf_metric"


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("kitten", "sitting", 1 - 3 / 7),  # k→s, e→i, +g
        ("abcd", "abcd", 1),
        ("abcd", "", 0),
        ("", "", 1),
        ("文章です", "文草です", 3 / 4),
    ],
)
def test_precision_by_hand(reference, output, wanted):
    assert precision(reference, output) == pytest.approx(wanted)


def test_exact_match_is_exact():
    assert exact_match("A b.\n", "A b.\n")
    assert not any(exact_match("A b.\n", other) for other in ("A b.", "a b.\n", "A  b.\n", "A b\n", ""))


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("a b c d", "a b c d", 1),
        ("a b c d", "a c b d", 2 * 3 / 8),  # a c d, or a b d
        ("a b c", "c b a", 2 * 1 / 6),  # a bag of words would say 1
        ("the cat sat on the mat", "the cat the mat", 2 * 4 / 10),
        ("a b", "a b a b a b", 2 * 2 / 8),  # a loop costs precision
        ("a\tb\n\nc", " a b  c ", 1),
        ("Word", "word", 0),
        ("a", "", 0),
        ("", " \n", 1),
    ],
)
def test_token_f1_by_hand(reference, output, wanted):
    assert token_f1(reference, output) == pytest.approx(wanted)


def test_bootstrap_interval():
    assert bootstrap_interval([0.3]) == bootstrap_interval([0.3] * 5) == pytest.approx((0.3, 0.3))
    # The mean of two draws of 0 and 1 is 0, 1/2 or 1 with chances 1/4, 1/2 and 1/4.
    assert bootstrap_interval([0, 1]) == (0, 1)
    assert bootstrap_interval([0, 1], confidence=0.4) == (0.5, 0.5)
    values = np.random.default_rng(5).normal(size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert (low, high) == bootstrap_interval(values)


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("the cat sat on the mat", "the cat the mat", 2 * 4 / 10),
        ("The cat, sat.", "the CAT sat", 1),  # case and punctuation do not count
        ("a b c", "c b a", 2 * 1 / 6),
        ("well-read snake_case", "well read snake case", 1),
        ("Émigré", "émigré", 1),
        ("a", "", 0),
        ("...", "", 1),
    ],
)
def test_rouge_l_by_hand(reference, output, wanted):
    assert rouge_l(reference, output) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "reference, output, wanted",
    [
        ("a b c d e", "a b c d e", 1),
        ("a b c d e", "a b c d", math.exp(1 - 5 / 4)),  # all n-grams match: only the brevity penalty
        ("a b c d", "a b c d x", (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        # "the" counts twice at most: 1-grams 2/7 in Papineni's example, and no common 2-gram
        ("the cat is on the mat", "the the the the the the the", 0),
        ("a b", "a b", 1),  # orders 1 and 2 only
        ("a b", "b a", 0),
        ("a b", "a b c", (2 / 3 * 1 / 2) ** 0.5),
        ("a", "", 0),
        ("", "", 1),
    ],
)
def test_bleu_by_hand(reference, output, wanted):
    assert bleu(reference, output) == pytest.approx(wanted)


def test_bleu_clips():
    # 1-grams: "the" 2 of 3 clipped; 2-grams of the output: the-the twice, of which none is in the reference.
    assert bleu("the cat the", "the the the", max_order=1) == pytest.approx(2 / 3)


def test_fox_sets_by_hand():
    # {a b c d} and {a b x}: 2 in common.
    assert fox_set_precision("a b c d a", "b a x x") == pytest.approx(2 / 3)
    assert fox_set_recall("a b c d a", "b a x x") == pytest.approx(2 / 4)
    assert fox_set_precision("a b c", "c b a a") == fox_set_recall("a b c", "c b a a") == 1  # blind to order
    assert (fox_set_precision("a", ""), fox_set_recall("a", "")) == (0, 0)
    assert (fox_set_precision("", "a"), fox_set_recall("", "a")) == (0, 0)
    assert (fox_set_precision(" ", ""), fox_set_recall(" ", "")) == (1, 1)


def test_chinese_words():
    pytest.importorskip("jieba", reason="pip install -e .[chinese]")
    text = "我来到北京清华大学"  # the example of jieba's own README
    assert is_chinese(text) and not is_chinese("Émigré カナ")
    assert split_words(text, chinese=True) == ["我", "来到", "北京", "清华大学"]
    assert split_words("北京 清华大学\n", chinese=True) == ["北京", "清华大学"]
    without_beijing = "我来到清华大学"
    assert fox_set_precision(text, without_beijing) == 1 and fox_set_recall(text, without_beijing) == 3 / 4
    assert rouge_l(text, without_beijing) == pytest.approx(2 * 3 / 7)
    assert bleu(text, text) == 1


def test_chinese_without_jieba(monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    for metric in (bleu, rouge_l, fox_set_precision, fox_set_recall):
        with pytest.raises(ValueError, match=r"Chinese text need jieba: pip install -e .\[chinese\]"):
            metric("我来到", "x")
    with pytest.raises(ValueError, match="need jieba"):
        check_segmenter(["a", "我"])
    check_segmenter(["a", "Émigré"])
    assert bleu("a b", "我") == 0  # the reference decides, whatever a model puts out


def test_all_scores():
    scores = all_scores("a b c", "a c")
    assert list(scores) == list(METRICS)
    assert scores == {name: metric("a b c", "a c") for name, metric in METRICS.items()}
    assert set(all_scores("a b", "a b").values()) == {1.0}


def test_evaluate_metric_offline(monkeypatch, tmp_path):
    evaluate = pytest.importorskip("evaluate")
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    metric = evaluate.load(str(HF_METRIC), cache_dir=str(tmp_path), keep_in_memory=True)
    result = metric.compute(predictions=["a c", "x y"], references=["a b c", "x y"])
    assert result == {name: (value + 1) / 2 for name, value in all_scores("a b c", "a c").items()}
