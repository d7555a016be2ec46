"""BM25 finds what is asked for, in the very tokens of the text. Run: pytest tests/eval/test_retrieval.py"""

import random

import pytest

from c3.eval.baselines.retrieval import LONGEST_PIECE, RankedText, cut_pieces
from c3.eval.questions.material import Material
from c3.eval.questions.rows import Wanted, make_rows
from question_corpus import make_corpus

pytest.importorskip("bm25s")


def best_tokens(processor, text, question, count):
    return RankedText(processor, text, question).best(count)


@pytest.fixture(scope="module")
def processor(make_model):
    return make_model("uniform").processor


def test_a_single_needle_is_found(processor, tokenizer):
    """Wherever it stands, in as many tokens as it has; the first tokens of the text hold it at its start alone."""
    material = Material(make_corpus(), tokenizer, "test")
    wanted = [Wanted(f"single-{kind}s-prose", 600, depth, 0) for kind in ("word", "uuid") for depth in (0, 0.5, 1)]
    for row in make_rows(material, wanted):
        context, (answer,) = row["context"], row["answers"]
        needle = context[context.index("One of") : context.index(answer) + len(answer) + 1]
        count = len(processor.encode(f" {needle}"))
        found = processor.decode(best_tokens(processor, context, row["messages"][0]["content"], count))
        assert answer in found and needle.startswith(found.strip()[:20])
        nothing_asked = processor.decode(best_tokens(processor, context, "Zzz qqq?", count))
        assert (answer in nothing_asked) == (row["depth"] == 0)


def test_tokens_are_the_text_s_in_its_order(processor):
    text = "It rained all day. Mary has a key.\nThe key is red! 天地玄黄。宇宙洪荒。 It rained again"
    ids, offsets = processor.encode_with_offsets(text)
    pieces = cut_pieces(text, offsets)
    assert [token for start, end in pieces for token in ids[start:end]] == ids
    parts = [processor.decode(ids[start:end]) for start, end in pieces]
    assert "".join(parts) == text and parts[:2] == ["It rained all day.", " Mary has a key."] and len(parts) == 6
    # The best one first: its beginning where there is no room for all of it.
    assert processor.decode(best_tokens(processor, text, "What is red?", 3)) == processor.decode(
        ids[pieces[2][0] :][:3]
    )
    both = best_tokens(processor, text, "Who has a red key?", sum(end - start for start, end in pieces[1:3]))
    assert processor.decode(both) == " Mary has a key.\nThe key is red!"
    assert "宇宙" in processor.decode(best_tokens(processor, text, "洪是什么？", pieces[4][1] - pieces[4][0]))


@pytest.mark.parametrize("text", ["word " * 100, "...", "a", "1. 2. 3.\n\n\n", "天" * 50])
def test_of_any_text_as_many_tokens_as_are_wanted(text, processor):
    ids, offsets = processor.encode_with_offsets(text)
    assert all(0 < end - start <= LONGEST_PIECE for start, end in cut_pieces(text, offsets))
    for count in (1, 7, len(ids), len(ids) + 5):
        found = best_tokens(processor, text, random.Random(0).choice(["word?", "", "1"]), count)
        assert len(found) == min(count, len(ids))
        assert count < len(ids) or found == ids
