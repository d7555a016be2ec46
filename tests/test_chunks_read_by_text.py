"""
Chunks whose encoder reads their text, not their ids: where they end, and answers that go on whatever is in them.
Run: pytest tests/test_chunks_read_by_text.py
"""

import warnings

import pytest
import torch
from transformers import LogitsProcessorList

from c3 import C3Processor, CompressionWarning
from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import TextSegment
from c3.training.data.tokenizer import train_tokenizer
from c3.window_decoding_c3 import ForceTokens
from image_models import LINE, model_of_lines
from tiny_models import TEXTS

MIXED = "Who? 短い文章です。短い文章です。🔥🔥🔥 Who?"
SPECIAL = 0


@pytest.fixture
def by_text(make_model, tokenizer):
    """A model whose encoder has a tokenizer of its own; its decoder's has a token for each byte of most characters."""
    model = make_model("appended")
    other = train_tokenizer([TEXTS[0]] * 4, vocab_size=280)
    model.processor = C3Processor.from_config(model.config, tokenizer, other)
    return model


def answer(model, ids, every, ratio, prompts="Who?", **options):
    """What is generated where the tokens of each row, `list[list[int]]`, are forced."""
    forced = LogitsProcessorList([ForceTokens(torch.tensor(ids))])
    options = {"logits_processor": forced, "eos_token_id": None, "do_sample": False} | options
    options = {"max_new_tokens": len(ids[0]), "return_dict_in_generate": True} | options
    return model.generate(None, prompts, compress_every=every, ratio=ratio, **options)


@pytest.mark.parametrize("every", [1, 2, 5, 16])
def test_no_character_is_cut(by_text, uniform, every):
    """Of a prompt chunks have a few tokens fewer where that does, of an answer a few more; else they are whole."""
    processor, ids = by_text.processor, by_text.processor.encode(MIXED)
    assert len(ids) > len(MIXED) + 20
    chunking = Chunking(processor, every, 4)
    segments, rest = chunking.chunks(ids)
    prompt = [each.ids for each in segments if isinstance(each, TextSegment)] + [rest]
    for chunks in (prompt, chunking.chunks_of_answer(ids)):
        assert sum(chunks, []) == ids
        assert "".join(map(processor.decode, chunks)) == MIXED
        assert all(abs(len(each) - every) <= 3 for each in chunks[:-1])
        assert len(set(map(len, chunks[:-1]))) > 1
    if every > 4:
        assert max(map(len, prompt)) == every
    # Where ids are read a chunk has as many as it is asked to.
    assert set(map(len, Chunking(uniform.processor, every, 4).chunks_of_answer(ids)[:-1])) == {every}


def test_bytes_that_never_make_a_character_do_not_wait_forever(by_text):
    (half,) = by_text.processor.encode("短")[:1]
    chunks = Chunking(by_text.processor, 8, 4).chunks_of_answer([half] * 25)
    assert list(map(len, chunks)) == [11, 11, 3]
    assert answer(by_text, [[half] * 25], 8, 1).latents[0].num_windows >= 2


def test_chunks_of_special_tokens_wait_for_text(by_text):
    """They are in the cache until there is something to encode, and the row beside them has chunks of its own."""
    text = by_text.processor.encode("it was the")[:7]
    silent = [SPECIAL] * 5 + text
    output = answer(by_text, [silent, text + [SPECIAL] * 5], 2, 2, prompts=["Who?", "Who?"])
    assert output.sequences.tolist() == [silent, text + [SPECIAL] * 5]
    alone = answer(by_text, [silent], 2, 2, output_logits=True)
    # The first chunk is five special tokens and one of the text; of the last there is one token, which is not read.
    first = by_text.processor.encode(by_text.processor.decode(text[:1]))
    prompt = answer(by_text, [silent[:1]], 2, 2).latents[0].text_lengths.tolist()
    assert alone.latents[0].text_lengths.tolist()[len(prompt) : len(prompt) + 1] == [len(first)]
    assert torch.equal(alone.latents[0].text_lengths, output.latents[0].text_lengths)
    torch.testing.assert_close(alone.latents[0].values, output.latents[0].values, rtol=1e-4, atol=1e-4)
    assert answer(by_text, [[SPECIAL] * 9], 2, 2, return_dict_in_generate=False) == ""


@pytest.fixture(scope="module")
def pictures():
    """A model of pictures that show little of an answer, and that answer."""
    model = model_of_lines(prompt_template="{latents}{prompt}\n")
    return model, model.processor.encode("Who is it? ") + model.processor.encode(LINE * 4)


def test_pictures_of_an_answer_are_as_large_as_its_text_needs(pictures):
    model, ids = pictures
    text, nominal = model.processor.decode(ids), Chunking(model.processor, 8, 8).num_latents
    ids = ids + ids
    with pytest.raises(ValueError, match="ask for a ratio of"):
        model.processor.plan(text, ratio=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompressionWarning)
        output = answer(model, [ids], 8, 8)
    assert output.sequences[0].tolist() == ids
    assert output.latents[0].num_latents > nominal * output.latents[0].num_windows
    # Where no number of latents shows the text it is drawn smaller.
    plan = model.processor.readable_plan(LINE, ratio=8)
    assert sum(plan.num_latents) == 1 and len(plan.windows.ids) < 8


def test_an_answer_ends_where_larger_pictures_leave_no_positions(pictures):
    """With a warning, and for that row alone; a batch of rows goes on."""
    model, ids = pictures
    ids = ids[-4:] * 40
    plain = (model.processor.encode("Who is it? ") * 160)[:160]
    chunking, asked = Chunking(model.processor, 8, 8), len(model.processor.encode("Who?\n"))
    most = next(free for free in range(200) if chunking.new_tokens(free) >= len(ids)) + asked
    config, before = model.config.decoder_config, model.config.decoder_config.max_position_embeddings
    config.max_position_embeddings = most
    try:
        with pytest.warns(CompressionWarning, match="ended where the decoder has no positions for more") as warned:
            output = answer(model, [ids, plain], 8, 8, prompts=["Who?", "Who?"])
        assert output.sequences[1].tolist() == plain
        ended = output.sequences[0].tolist()
        last = max(place for place, token in enumerate(ended) if token != SPECIAL) + 1
        assert 8 < last < len(ids) and ended[:last] == ids[:last]
        # Only where the next token would stand beyond the last position; the prompt is a chunk as well.
        held = output.latents[0]
        whole = 8 * (held.num_windows - 1)
        taken = len(model.processor.encode("\n")) + held.num_latents
        needed = chunking.plan_of_answer(ids[last - 8 : last]).num_latents if last == whole + 8 else [last - whole]
        assert last <= whole + 8 and taken + sum(needed) >= most > taken
        latents = model.compress("a text")
        for asked_about in (latents, [latents], None):
            config.max_position_embeddings = most + (asked_about is not None) * latents.num_latents
            with pytest.warns(CompressionWarning, match="ended where") as warned:
                forced = LogitsProcessorList([ForceTokens(torch.tensor([ids]))])
                options = {"logits_processor": forced, "eos_token_id": None, "max_new_tokens": len(ids)}
                options |= {"allow_mismatch": True, "do_sample": False}  # its config has been changed
                model.generate(asked_about, "Who?", compress_every=8, ratio=8, **options)
            assert [each.filename for each in warned] == [__file__]
    finally:
        config.max_position_embeddings = before
