"""Windows: every token once, every latent the same number of tokens; and the ids of long texts, made in pieces."""

import random
from array import array
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from c3.windows_c3 import (
    MARGIN,
    MOST_TRIES,
    TextWindow,
    TextWindows,
    WindowPlan,
    WindowsOfTexts,
    encode_in_pieces,
    even_windows,
    share_latents,
    windows_at,
    windows_at_characters,
)
from tiny_models import TEXTS, token_ids

ROOT = Path(__file__).resolve().parents[1]
ALPHABET = "aé短  \n\t.,'’123—👍-_<|end|>\r"


def test_even_windows_by_hand():
    # 10 tokens in 3 latents: one stands for 4 tokens, two for 3 each.
    assert even_windows(10, 3, window=8) == [(4, 1), (6, 2)]
    assert even_windows(64, 8, window=32) == [(32, 4), (32, 4)]
    assert even_windows(40, 10, window=32) == [(20, 5), (20, 5)]
    assert even_windows(1, 5, window=32) == [(1, 1)]
    assert even_windows(100, 1, window=32) == [(25, 1)] * 4


def test_even_windows_always():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        length, window = int(rng.integers(1, 3000)), int(rng.integers(1, 300))
        wanted = int(rng.integers(1, length + 1))
        plan = even_windows(length, wanted, window)
        assert sum(tokens for tokens, _ in plan) == length
        assert sum(n for _, n in plan) == max(wanted, -(-length // window))
        assert all(1 <= tokens <= window and n >= 1 and tokens % n == 0 for tokens, n in plan)
        ratios = {tokens // n for tokens, n in plan}
        assert max(ratios) - min(ratios) <= 1


@pytest.mark.parametrize(
    "lengths,wanted,expected",
    [([32, 32], 8, [4, 4]), ([32, 16], 6, [4, 2]), ([32, 32, 1], 4, [2, 1, 1]), ([5, 5], 1, [1, 1])],
)
def test_share_latents(lengths, wanted, expected):
    assert share_latents(lengths, wanted) == expected


def test_windows_are_a_sequence_that_is_cut_when_asked():
    windows = windows_at([2, 3, 1], array("i", range(6)))
    assert len(windows) == 3 and windows.lengths == [2, 3, 1]
    assert windows[1] == windows[-2] == TextWindow([2, 3, 4], [2, 3, 4])
    assert [each.text_ids for each in windows[1:]] == [[2, 3, 4], [5]] == [each.context for each in windows][1:]
    with pytest.raises(IndexError):
        windows[3]


def test_what_the_encoder_reads_is_made_when_asked():
    """So that a long text's pictures are never all in memory."""
    made = []
    windows = windows_at_characters("abcde", [7, 8, 9], [(0, 2), (2, 4), (4, 5)], 2, made.append)
    assert windows.lengths == [2, 1] and not made
    assert windows[-1].text_ids == [9] and windows[0].text_ids == [7, 8]
    assert made == ["e", "abcd"] and len(windows.contexts) == 2


def test_windows_of_texts_are_those_of_each():
    plans = [WindowPlan(windows_at([2, 3], array("i", range(5))), [1, 2])]
    plans.append(WindowPlan(TextWindows(array("i", [7, 8]), [0, 2], ["context"]), [1]))
    together = WindowsOfTexts(plans)
    assert list(together) == [*plans[0].windows, TextWindow("context", [7, 8])]
    assert (together.lengths, together.num_latents) == ([2, 3, 2], [1, 2, 1])


# Ids of long texts, in pieces


@pytest.fixture(scope="module", params=["tiny", "default checkpoint"])
def encode(request, tokenizer):
    if request.param == "tiny":
        return partial(token_ids, tokenizer)
    return partial(token_ids, AutoTokenizer.from_pretrained(ROOT, trust_remote_code=False))


def random_text(seed, length):
    draw = random.Random(seed)
    return "".join(draw.choice([draw.choice(ALPHABET), draw.choice(TEXTS).split()[0], " "]) for _ in range(length))


@pytest.mark.parametrize("piece", [1, 7, 300, 10**6])
def test_ids_are_those_of_the_whole(encode, piece):
    prose = (ROOT / "examples" / "jefferson_1805.txt").read_text(encoding="utf-8")[:3000]
    for text in (
        prose,
        " ".join(TEXTS * 5),
        "\n\n".join(TEXTS),
        "word" * 500,
        " " * 500,
        *map(random_text, range(5), [500] * 5),
    ):
        assert encode_in_pieces(encode, text, piece).tolist() == encode(text)


def test_pieces_are_small(encode):
    lengths = []

    def spy(text):
        lengths.append(len(text))
        return encode(text)

    encode_in_pieces(spy, TEXTS[0] * 200, piece=1000)
    assert max(lengths) < 1000 + 2 * MARGIN and len(lengths) > 20


def test_no_cut_where_the_tokenizer_marks_the_start_of_a_text():
    """As those of SentencePiece do. Few cuts are tried, so that this costs no more than the text itself."""
    calls = []

    def encode(text):
        calls.append(text)
        return [ord(each) for each in "▁" + text]

    text = "a b " * 5000
    assert encode_in_pieces(encode, text, piece=100).tolist() == [ord(each) for each in "▁" + text]
    assert len(calls) == 3 * MOST_TRIES + 1
