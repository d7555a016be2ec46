"""The byte-level BPE tokenizer. Run: pytest tests/training/test_tokenizer.py"""

import pytest
from transformers import AutoTokenizer

from c3.training.data.tokenizer import END_OF_TEXT, train_tokenizer

TEXTS = {
    "english": "It was the best of times, it was the worst of times; it's 1859.",
    "chinese": "这是一个最好的时代,这是一个最坏的时代。",
    "emoji": "👩‍👩‍👧‍👦 🇪🇺 e\u0301 \ufeff",
    "windows lines": "one\r\ntwo\r\n\r\n\tthree  \n",
    "spaces": "  leading, trailing   ",
    "nul": "a\x00b\x00",
    "control": "".join(map(chr, range(32))) + "\x7f\x85\u2028",
    "special": f"no {END_OF_TEXT} end",
    "rare": "\U0010ffff\ue000\u0378 ﷺ",
}


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_any_text_comes_back(tokenizer, text):
    ids = encode(tokenizer, text)
    assert 0 not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_every_byte_has_a_token():
    tokenizer = train_tokenizer([], vocab_size=257)
    assert len(tokenizer) == 257
    assert len(encode(tokenizer, "é👍")) == 6


def test_digits_stay_apart():
    tokenizer = train_tokenizer(["1234 1234 1234 word word word"] * 9, vocab_size=400)
    assert len(encode(tokenizer, "1234")) == 4
    assert len(encode(tokenizer, " word")) == 1


def test_vocabulary():
    tokenizer = train_tokenizer(["the cat and the hat and the mat"] * 9, vocab_size=270)
    assert len(tokenizer) == 270
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id) == (0, 0, None)
    assert tokenizer.all_special_tokens == [END_OF_TEXT]
    # Little text gives fewer merges than asked for.
    assert 257 <= len(train_tokenizer(["ab"], vocab_size=1000)) < 300
    with pytest.raises(ValueError, match="vocab_size must be 257 or more .* not 256"):
        train_tokenizer(["ab"], vocab_size=256)


def test_training_takes_a_stream_and_is_repeatable():
    texts = ["the cat and the hat", "and the mat"] * 9
    first, again = (train_tokenizer(iter(texts), vocab_size=280).get_vocab() for _ in range(2))
    assert first == again


def test_round_trip_through_a_folder(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 0)
    for text in TEXTS.values():
        assert encode(loaded, text) == encode(tokenizer, text)
        assert loaded.decode(encode(loaded, text), skip_special_tokens=True) == text


def test_nothing_goes_to_standard_output(capfd):
    """Not even an empty line, with which the library would panic where the reader is gone."""
    train_tokenizer(["the cat and the hat"], vocab_size=280)
    assert capfd.readouterr().out == ""
