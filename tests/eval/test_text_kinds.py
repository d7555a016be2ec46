"""Kinds of text: what they are made of, and how long. Run: pytest tests/eval/test_text_kinds.py"""

import random

import pytest

from c3.eval.metrics import precision
from c3.eval.suites.robustness import KINDS
from c3.eval.text_kinds import PAGE_KINDS, cut_tokens, language, pieces, text_of_length, whole_tokens
from eval_files import PAGES


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Chinese"])
def test_kinds_are_deterministic_and_long(kind, tokenizer):
    def make(sample, length=300):
        return text_of_length(tokenizer, pieces(kind, sample, 2, [p * 20 for p in PAGES], tokenizer), length)

    text = make(0)
    assert text == make(0) != make(1)
    assert len(tokenizer(text)["input_ids"]) >= 300 - 2
    assert cut_tokens(tokenizer, text, 50) == text[: len(cut_tokens(tokenizer, text, 50))]
    assert "\ufffd" not in text


def test_page_kinds():
    def made(kind):
        return PAGE_KINDS[kind](PAGES[0], random.Random(1))

    words = PAGES[0].split()
    assert made("English") == PAGES[0] and made("all caps") == PAGES[0].upper()
    assert made("reversed words").split() == words[::-1]
    assert made("shuffled words").split() != words and sorted(made("shuffled words").split()) == sorted(words)
    assert 0.8 < precision(PAGES[0] * 20, PAGE_KINDS["typos"](PAGES[0] * 20, random.Random(1))) < 0.98
    assert len(set(made("repeated text").splitlines())) == 1 and len(made("repeated text")) >= len(PAGES[0])


def test_pages_that_are_too_short(tokenizer):
    assert text_of_length(tokenizer, pieces("English", 0, 1, PAGES, tokenizer), 10_000) is None
    assert cut_tokens(tokenizer, "a", 5) is None


def test_cuts_keep_characters_whole(tokenizer):
    text = "章節" * 5  # several tokens a character
    for length in range(1, 12):
        start = cut_tokens(tokenizer, text, length)
        assert start and text.startswith(start)


def test_whole_tokens(tokenizer):
    ids = whole_tokens(tokenizer)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert 100 < len(ids) < len(tokenizer) and all("\ufffd" not in tokenizer.decode([i]) for i in ids)


def test_language():
    assert [language(text) for text in ("abc", "我来到北京", "He said 我")] == ["en", "zh", "zh"]
