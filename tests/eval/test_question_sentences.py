"""Sentences to ask about, and where they come from. Run: pytest tests/eval/test_question_sentences.py"""

import random

import pytest

from c3.eval.questions.material import Material, cut, read_corpus
from c3.eval.questions.question import Unmakeable
from c3.eval.questions.sentences import split_sentences
from eval_files import write_lines
from question_corpus import make_corpus

WITH_NAMES = "Mr. Fox met J. R. Hare at No. 7."
LONG_LINE = "The line is as long as lines of a book are, and goes"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One came early. Two came late! Did three come?", ["One came early.", "Two came late!", "Did three come?"]),
        ("Mr. Fox met J. R. Hare at No. 7. They spoke, e.g. Latin.", [WITH_NAMES, "They spoke, e.g. Latin."]),
        ("It ended in 1905. The next year began.", ["It ended in 1905.", "The next year began."]),
        ("“Who is there?” he asked. “An old friend.” She", ["“Who is there?” he asked.", "“An old friend.”"]),
        ("He said 3.5 of them... came. Then he left.", ["He said 3.5 of them... came.", "Then he left."]),
        ("1. First of all this. 2. Then that one.", ["1. First of all this.", "2. Then that one."]),
        # Headings, items, tables, what has no end, what is too short.
        ("A heading\nThen the text begins.", ["Then the text begins."]),
        ("# A heading.\n\n- an item.\n- another\n\n| a | b |\n\nThe sentence stays. No.", ["The sentence stays."]),
        ("No end here", []),
        ("\n \n\x0c\x0c\n", []),
        # Lines of a fixed width.
        (f"{LONG_LINE}\non to its end. It is there.", [f"{LONG_LINE} on to its end.", "It is there."]),
    ],
)
def test_english(text, sentences):
    assert [sentence for sentence, _ in split_sentences(text, "en")] == sentences


def test_paragraphs_stay_apart():
    text = "One came early.\n\nTwo came late.  Three came\tlast."
    assert split_sentences(text, "en") == [
        ("One came early.", ""),
        ("Two came late.", "\n\n"),
        ("Three came last.", " "),
    ]


def test_chinese():
    text = "標題\n天地玄黃宇宙洪荒。日月盈昃！他說：“寒來暑往。”秋收冬藏？短。\n\n閏餘成歲律呂\n雲騰致雨露結"
    sentences = ["天地玄黃宇宙洪荒。", "日月盈昃！", "他說：“寒來暑往。”", "秋收冬藏？"]
    assert split_sentences(text, "zh") == list(zip(sentences, ["", "", "", ""], strict=True))
    assert split_sentences(sentences[0] + "\n\n" + sentences[2], "zh")[1] == (sentences[2], "\n\n")


def in_order(material):
    """All sentences of each document, in order."""
    found = [[] for _ in material.texts]
    for stretch in (stretch for each in material.stretches.values() for stretch in each):
        found[stretch.document] += material.sentences(stretch)
    return found


def test_passages_follow_one_another_and_fill_their_length(tokenizer, monkeypatch):
    """Whatever the stretches are into which documents are cut."""
    monkeypatch.setattr("c3.eval.questions.material.STRETCH", {"en": 300, "zh": 100})
    corpus = make_corpus()
    material = Material(corpus, tokenizer, "train")
    documents, ends = in_order(material), 0
    for text, sentences, language in zip(material.texts, documents, material.languages, strict=True):
        assert [sentence.text for sentence in sentences] == [each for each, _ in split_sentences(text, language)]
    assert max(map(len, material.stretches.values())) > 2 * len(corpus) / 3
    for number in range(40):
        passage = material.passage(random.Random(number), 800)
        assert 0.85 * 800 < sum(sentence.tokens for sentence in passage) <= 800
        assert len({material.languages[sentence.document] for sentence in passage}) == 1
        for one, other in zip(passage, passage[1:], strict=False):
            if one.document == other.document:
                assert documents[one.document].index(other) == documents[one.document].index(one) + 1
            else:
                ends += 1
                assert one == documents[one.document][-1] and other == documents[other.document][0]
                assert other.separator == "\n\n"
    assert ends
    with pytest.raises(Unmakeable, match="too few whole sentences"):
        material.passage(random.Random(0), 10**6)
    with pytest.raises(Unmakeable, match="too few whole sentences"):
        Material(["no sentence\n" * 50], tokenizer, "train").passage(random.Random(0), 100)


def test_documents_are_cut_at_paragraphs_or_else_at_lines():
    def pieces(text):
        return [text[start:end] for _, start, end in cut(0, text, 8)]

    assert pieces("abc\n\nabc\n\nabc") == ["abc\n\nabc", "\n\nabc"]
    assert pieces("abcd\n" * 5) == ["abcd\nabcd\nabcd\nabcd", "\nabcd\n"]
    assert pieces("a" * 100) == ["a" * 100] and pieces("") == []


def test_files_of_a_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("A text.\r\nNo more.", encoding="utf-8", newline="")
    rows = write_lines(tmp_path / "b.jsonl", [{"text": "One."}, {"text": ""}, {"text": "Two."}])
    assert read_corpus([tmp_path / "a.txt", rows]) == ["A text.\nNo more.", "One.", "Two."]
    (tmp_path / "a.txt").write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="a.txt is not UTF-8 text: invalid start byte at byte 2"):
        read_corpus([tmp_path / "a.txt"])
    with pytest.raises(FileNotFoundError):
        read_corpus([tmp_path / "c.txt"])
    (tmp_path / "a.csv").write_text("text", encoding="utf-8")
    with pytest.raises(ValueError, match="neither a .parquet nor a .jsonl"):
        read_corpus([tmp_path / "a.csv"])


def test_what_is_no_unicode_is_replaced(tokenizer):
    texts = [f"Sentence {number} is broken \ud800 here. This one is whole." for number in range(20)]
    material = Material(texts, tokenizer, "train")
    for sentences in in_order(material):
        broken, whole = (sentence.text for sentence in sentences)
        assert broken.endswith("is broken ? here.") and whole == "This one is whole."
