"""Long texts tokenised in pieces: the ids of the whole, in little memory. Run: pytest tests/test_text_pieces.py"""

import random

import pytest
from transformers import AutoTokenizer

from benchmarks.models import PACKAGE
from c3.windows_c3 import MARGIN, MOST_TRIES, encode_in_pieces
from tiny_models import TEXTS

ALPHABET = "aé短  \n\t.,'’123—👍-_<|end|>\r"


def encoder(tokenizer):
    return lambda text: tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@pytest.fixture(scope="module", params=["tiny", "default checkpoint"])
def encode(request, tokenizer):
    if request.param == "tiny":
        return encoder(tokenizer)
    return encoder(AutoTokenizer.from_pretrained(PACKAGE, trust_remote_code=False))


def random_text(seed, length):
    draw = random.Random(seed)
    return "".join(draw.choice([draw.choice(ALPHABET), draw.choice(TEXTS).split()[0], " "]) for _ in range(length))


@pytest.mark.parametrize("piece", [1, 7, 300, 10**6])
def test_ids_are_those_of_the_whole(encode, piece):
    prose = (PACKAGE / "examples" / "jefferson_1805.txt").read_text(encoding="utf-8")[:3000]
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
