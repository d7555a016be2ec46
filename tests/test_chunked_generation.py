"""
Global compression: chunk by chunk with a cache it gives what a whole row with the mask gives at each token.
Run: pytest tests/test_chunked_generation.py
"""

from dataclasses import replace
from functools import lru_cache, partial

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor, TextStreamer

from c3 import C3Latents, C3Processor, CompressionWarning
from c3.chunked_rows_c3 import Chunking
from c3.decoder_rows_c3 import LatentSpan, TextSegment, row_length, row_positions
from c3.position_limits_c3 import most_positions
from c3.training.data.tokenizer import train_tokenizer
from c3.window_decoding_c3 import ForceTokens
from tiny_models import LONG, TEXTS

EVERY, RATIO, NEW = 8, 4, 18
CHUNKS = {"compress_every": EVERY, "ratio": RATIO, "do_sample": False, "max_new_tokens": NEW}
PROMPTS = [TEXTS[0], "Who?", TEXTS[1]]


@pytest.fixture(
    scope="module",
    params=[("appended", True), ("uniform", True), ("uniform", False)],
    ids=["appended", "uniform", "unseen"],
)
def any_model(request, make_model):
    layout, sees = request.param
    return make_model(layout, latents_see_chunk=sees, prompt_template="a{latents}b{prompt}c")


def whole_row(model, spans, values, prompt, answer):
    """The segments and latents of a row with all that has been answered, in the order in which they are read."""
    chunking = Chunking(model.processor, EVERY, RATIO)
    row = chunking.row(spans, prompt)
    row += [replace(each, chunk=each.chunk and each.chunk + 100) for each in answer_segments(chunking, answer)]
    texts = [each for each in row if isinstance(each, TextSegment) and each.chunk]
    followed = {each.chunk for each in row if isinstance(each, LatentSpan)}
    own = chunking.encode(model, [chunking.plan(each.ids) for each in texts if each.chunk in followed])
    # All latents but those of chunks come first.
    return row, torch.cat([values, *own])


def answer_segments(chunking, answer):
    segments = []
    for number, chunk in enumerate(filter(None, chunking.chunks_of_answer(answer)), start=1):
        segments.append(TextSegment(chunk, chunk=number))
        if chunking.is_complete(chunk):
            segments += [replace(span, chunk=number) for span in chunking.plan(chunk).spans]
    return segments


@torch.no_grad()
def next_logits(model, spans, values, prompt, answer):
    row, latents = whole_row(model, spans, values, prompt, answer)
    return model(**model.processor.decoder_inputs([row]), latents=latents).logits[0, -1]


@lru_cache
def by_hand(model, prompt, latents=None, new=NEW, penalty=None):
    """The ids that greedy decoding gives where every token is chosen after the whole row is read anew."""
    spans = [] if latents is None else [span for text in latents.spans for span in text]
    values = torch.empty(0, model.config.hidden_size) if latents is None else latents.values.float()
    answer = []
    for _ in range(new):
        scores = next_logits(model, spans, values, prompt, answer)[None]
        if penalty is not None:
            scores = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([answer], dtype=torch.long), scores)
        answer.append(int(scores.argmax()))
    return answer


def text_of(model, ids):
    """Up to the end of the text, where there is one."""
    ids = list(map(int, ids))
    return model.processor.decode(ids[: ids.index(0)] if 0 in ids else ids)


def test_equal_to_the_whole_row_at_every_token(any_model):
    """A batch of prompts of unlike lengths, one of which is text alone, and each of them by itself."""
    expected = [text_of(any_model, by_hand(any_model, prompt)) for prompt in PROMPTS]
    assert len(set(expected)) == 3
    assert any_model.generate(None, PROMPTS, **CHUNKS) == expected
    assert any_model.generate(None, PROMPTS, batch_size=2, **CHUNKS) == expected
    assert any_model.generate(None, PROMPTS[0], **CHUNKS) == expected[0]
    # Without compression, or with other chunks, the answer is another one.
    assert any_model.generate(None, PROMPTS[0], **CHUNKS | {"compress_every": 7}) != expected[0]


def test_after_latents(any_model):
    """Latents of one text with several prompts, and several contexts, one of which is read as its tokens."""
    options = CHUNKS | {"max_new_tokens": EVERY + 3}
    by_hand_so_far = partial(by_hand, any_model, new=EVERY + 3)
    latents = any_model.compress(LONG, window=16, dtype=torch.float32)
    expected = [text_of(any_model, by_hand_so_far(prompt, latents)) for prompt in PROMPTS[:2]]
    assert any_model.generate(latents, PROMPTS[:2], **options) == expected
    others = any_model.compress(TEXTS[:2], dtype=torch.float32)
    together = text_of(any_model, by_hand_so_far("Who?", C3Latents.cat([latents, others])))
    assert any_model.generate([latents, others], "Who?", **options) == together
    assert any_model.generate([latents, "a b c"], "Who?", **options) != together


def test_rows_end_at_different_times(any_model):
    """Where a row ends it is compressed no more, and the others are what they are without it."""
    ids = [by_hand(any_model, prompt) for prompt in PROMPTS]
    end = ids[0][EVERY + 2]
    ended = [each[: each.index(end) + 1] if end in each else each for each in ids]
    assert len(set(map(len, ended))) > 1
    options = CHUNKS | {"eos_token_id": end, "pad_token_id": 0, "return_dict_in_generate": True}
    output = any_model.generate(None, PROMPTS, **options)
    for row, expected in zip(output.sequences.tolist(), ended, strict=True):
        assert row == expected + [0] * (len(row) - len(expected))
    chunking = Chunking(any_model.processor, EVERY, RATIO)
    for prompt, expected, latents in zip(PROMPTS, ended, output.latents, strict=True):
        chunks, _ = chunking.chunks(any_model.processor.encode_prompt(prompt))
        in_prompt = [len(each.ids) for each in chunks if isinstance(each, TextSegment)]
        # A chunk that is complete with the last token is not read again.
        in_answer = [EVERY] * ((len(expected) - 1) // EVERY)
        held = [] if latents is None else latents.text_lengths.tolist()
        assert held == in_prompt + in_answer
        if latents is not None:
            assert latents.latent_lengths.tolist() == [max(1, length // RATIO) for length in held]


def test_the_output_says_what_was_kept(any_model):
    output = any_model.generate(None, PROMPTS[0], return_dict_in_generate=True, output_logits=True, **CHUNKS)
    (latents,) = output.latents
    row, values = whole_row(any_model, [], torch.empty(0, any_model.config.hidden_size), PROMPTS[0], [])
    torch.testing.assert_close(latents.values[: len(values)], values)
    assert latents.provenance == any_model.compress("a").provenance
    any_model.expand(latents, show_progress=False)
    # All but the last token, and the chunks that are gone.
    text = sum(len(each.ids) for each in row if isinstance(each, TextSegment) and not each.chunk)
    assert output.past_key_values.get_seq_length() == text + latents.num_latents + (NEW - 1) % EVERY
    assert output.most_cache_bytes > 0
    answer = output.sequences[0].tolist()
    none = torch.empty(0, any_model.config.hidden_size)
    for place in (0, 1, EVERY, EVERY + 1, 2 * EVERY, NEW - 1):
        expected = next_logits(any_model, [], none, PROMPTS[0], answer[:place])
        torch.testing.assert_close(output.logits[place][0], expected, rtol=1e-4, atol=1e-4)


def test_sampling(any_model):
    """Several answers to each prompt; their logits are those of their own rows."""
    options = CHUNKS | {"do_sample": True, "temperature": 2.0, "num_return_sequences": 2}
    torch.manual_seed(0)
    texts = any_model.generate(None, PROMPTS[:2], **options)
    assert len(set(texts)) == 4
    torch.manual_seed(0)
    output = any_model.generate(None, PROMPTS[:2], return_dict_in_generate=True, output_logits=True, **options)
    assert [text_of(any_model, ids) for ids in output.sequences] == texts
    none = torch.empty(0, any_model.config.hidden_size)
    for row, place in ((0, NEW - 1), (1, EVERY), (3, NEW - 1)):
        answer = output.sequences[row, :place].tolist()
        expected = next_logits(any_model, [], none, PROMPTS[row // 2], answer)
        torch.testing.assert_close(output.logits[place][row], expected, rtol=1e-4, atol=1e-4)


def test_processors_and_stop_strings_see_all_chunks(any_model):
    expected = by_hand(any_model, "Who?", penalty=1.5)
    assert any_model.generate(None, "Who?", repetition_penalty=1.5, **CHUNKS) == text_of(any_model, expected)
    whole = text_of(any_model, expected)
    given = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.5)])
    assert any_model.generate(None, "Who?", logits_processor=given, **CHUNKS) == whole
    # Across the end of the first chunk.
    ids = any_model.processor.encode(TEXTS[0])[:NEW]
    forced = CHUNKS | {"logits_processor": LogitsProcessorList([ForceTokens(torch.tensor([ids]))])}
    assert any_model.generate(None, "Who?", **forced) == text_of(any_model, ids)
    stop = text_of(any_model, ids[EVERY - 1 : EVERY + 1])
    assert any_model.generate(None, "Who?", stop_strings=stop, **forced) == text_of(any_model, ids[: EVERY + 1])


def test_streamers_get_every_token(any_model, capsys):
    streamer = TextStreamer(any_model.processor.tokenizer)
    text = any_model.generate(None, "Who?", streamer=streamer, **CHUNKS)
    assert capsys.readouterr().out == text + "\n"


def test_an_encoder_with_a_tokenizer_of_its_own(make_model, tokenizer):
    """A chunk is read by its text; latents are as many as its text has tokens for."""
    model = make_model("uniform")
    other = train_tokenizer([TEXTS[0]] * 4, vocab_size=280)
    model.processor = C3Processor.from_config(model.config, tokenizer, other)
    expected = [text_of(model, by_hand(model, prompt)) for prompt in PROMPTS[:2]]
    assert model.generate(None, PROMPTS[:2], **CHUNKS) == expected


@pytest.mark.parametrize("every, ratio", [(8, 4), (8, 1), (5, 2.5), (1, 1), (64, 7)])
def test_the_residual_rule_by_hand(uniform, every, ratio):
    """What is left over of a prompt is compressed only if it is longer than the latents of a chunk."""
    chunking = Chunking(uniform.processor, every, ratio)
    assert chunking.num_latents == max(1, int(every / ratio), -(-every // 32))
    for length in range(0, 3 * every + 1):
        chunks, rest = chunking.chunks(list(range(3, 3 + length)))
        texts = [each for each in chunks if isinstance(each, TextSegment)]
        left = length % every
        assert rest == ([] if left > chunking.num_latents else list(range(3 + length - left, 3 + length)))
        assert [token for each in texts for token in each.ids] + rest == list(range(3, 3 + length))
        assert {each.chunk for each in chunks} == set(range(1, len(texts) + 1))
        held = [sum(s.num_tokens for s in chunks if isinstance(s, LatentSpan) and s.chunk == t.chunk) for t in texts]
        assert held == [len(text.ids) for text in texts]


def test_positions_for_new_tokens(uniform):
    """As many as fit when they are counted one by one."""
    chunking = Chunking(uniform.processor, EVERY, RATIO)
    for free in range(40):
        tokens, answer = 0, []
        while True:
            answer.append(3)
            positions = row_positions([TextSegment([1]), *answer_segments(chunking, answer)], "uniform", "consecutive")
            text = [each for each, at in zip(positions, range(len(positions)), strict=True)]
            if max(text) - 1 >= free:
                break
            tokens += 1
        assert chunking.new_tokens(free) == tokens, free


def test_answers_outgrow_the_decoder_s_positions(make_model):
    model = make_model("uniform")
    model.config.decoder_config.max_position_embeddings = 40
    assert most_positions(model.config.decoder_config) == 40
    options = CHUNKS | {"max_new_tokens": 60, "ratio": 8, "eos_token_id": None}
    output = model.generate(None, "Who?", return_dict_in_generate=True, **options)
    assert output.sequences.shape == (1, 60) and output.past_key_values.get_seq_length() < 20
    with pytest.raises(ValueError, match="the decoder has positions for .* new tokens, not for 9999"):
        model.generate(None, "Who?", **options | {"max_new_tokens": 9999})


def test_chunks_of_a_prompt_stand_within_the_decoder_s_positions(make_model):
    """Also where the row ends far below them; text that is not read takes none."""
    options = CHUNKS | {"compress_every": 200, "ratio": 8, "max_new_tokens": 1}
    for sees in (True, False):
        model = make_model("uniform", latents_see_chunk=sees)
        prompt, most = "a b " * 100, 0
        row = Chunking(model.processor, 200, 8).row([], prompt)
        for segment, at in placed(row):
            most = max(most, at) if segment.chunk and (sees or isinstance(segment, LatentSpan)) else most
        assert (most > row_positions(row, "uniform", "consecutive")[-1] + 100) == sees
        model.config.decoder_config.max_position_embeddings = most + 9
        model.generate(None, prompt, **options)
        model.config.decoder_config.max_position_embeddings = most
        said = f"positions up to {most + 1}, but the decoder was made for {most}: give a smaller" if sees else "take"
        with pytest.raises(ValueError, match=said):
            model.generate(None, prompt, **options)


def test_positions_are_consecutive_whatever_those_of_prompts_are(make_model):
    """Also where nothing of the prompt is in a chunk: the answer goes on where the prompt ends."""
    models = [make_model("uniform", prompt_positions=each) for each in ("consecutive", "among_text")]
    latents = models[0].compress(TEXTS[0])
    options = CHUNKS | {"return_dict_in_generate": True, "output_logits": True, "allow_mismatch": True, "ratio": 2}
    outputs = [model.generate(latents, "W", **options) for model in models]
    torch.testing.assert_close(torch.stack(outputs[0].logits), torch.stack(outputs[1].logits))
    assert outputs[0].latents[0].text_lengths.tolist()[0] == EVERY


def placed(row):
    """The segment of each position of a row, and where it stands."""
    segments = [each for each in row for _ in range(row_length([each]))]
    return list(zip(segments, row_positions(row, "uniform", "consecutive"), strict=True))


def test_what_does_not_go_together(uniform, make_model):
    latents = uniform.compress("a text")
    refused = [
        ((latents, "Who?"), {"ratio": 4}, "ratio is that of compress_every"),
        ((None, "Who?"), {"compress_every": 0}, "compress_every must be an integer of 1 or more, not 0"),
        ((None, "Who?"), {"compress_every": 10**10}, "compress_every must be .* or less, not 10000000000"),
        ((None, "Who?"), CHUNKS | {"raw_below": 0.5}, "raw_below needs latents from compress"),
        ((None, "Who?"), CHUNKS | {"ratio": 0.5}, "ratio must be a number of 1 or more"),
        ((None, None), CHUNKS, "takes prompts that are strings"),
        ((None, [{"role": "user", "content": "Who?"}]), CHUNKS, "takes prompts that are strings"),
        ((None, ["Who?", ""]), CHUNKS, "A prompt is empty"),
        ((None, uniform.config.reconstruction_prompt), CHUNKS, "no latents whose text could be given back"),
        ((latents, uniform.config.reconstruction_prompt), CHUNKS, "compress_every is for prompts: leave it out"),
        ((None, "Who?"), CHUNKS | {"num_beams": 2}, "not beams"),
        ((None, "Who?"), CHUNKS | {"use_cache": False}, "leave use_cache=False out"),
        ((None, "Who?"), CHUNKS | {"output_attentions": True}, "output_attentions does not go with compress_every"),
        ((None, "Who?"), CHUNKS | {"cache_implementation": "static"}, "cache_implementation does not go with"),
        ((None, "Who?"), CHUNKS | {"penalty_alpha": 0.5}, "penalty_alpha does not go with compress_every"),
        ((None, "Who?"), CHUNKS | {"max_new_token": 5}, "max_new_token"),
    ]
    for given, options, message in refused:
        with pytest.raises(ValueError, match=message):
            uniform.generate(*given, **options)
    with pytest.raises(ValueError, match="trained to give texts back and nothing else"):
        make_model("uniform", reconstruction_only=True).generate(None, "Who?", **CHUNKS)
    with pytest.raises(ValueError, match="needs 16 latents in a window, above the 8"):
        make_model("appended").generate(None, "Who?", **CHUNKS | {"compress_every": 16, "ratio": 1})
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
    with pytest.raises(ValueError, match="sliding windows"):
        make_model("uniform", decoder_options=sliding).generate(None, "Who?", **CHUNKS)
    with pytest.warns(CompressionWarning, match="at its best from 4 on") as warned:
        make_model("uniform", ratio_range=[4, 8]).generate(None, "Who?", **CHUNKS | {"ratio": 2})
    assert any(each.filename == __file__ for each in warned)
