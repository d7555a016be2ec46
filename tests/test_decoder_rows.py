"""Rows of the decoder: positions, labels, hidden tokens, and text that later chunks do not see."""

import numpy as np
import pytest
import torch

from c3.decoder_rows_c3 import LatentSpan, TextSegment, decoder_rows, learned_length, row_length

LATENT, MASK = 90, 91


def lay_out(rows, layout="uniform", prompt_positions="consecutive"):
    return decoder_rows(rows, layout, LATENT, MASK, prompt_positions)


def test_a_row_by_hand():
    """Text between latents takes places of its own, and so does what follows."""
    row = [TextSegment([1]), LatentSpan(2, 8), TextSegment([2, 3]), LatentSpan(1, 4), TextSegment([4], labels=[4])]
    batch = lay_out([row], prompt_positions="among_text")
    assert batch["input_ids"].tolist() == [[1, LATENT, LATENT, 2, 3, LATENT, 4]]
    assert batch["position_ids"].tolist() == [[-1, 1.5, 5.5, 8, 9, 11.5, 14]]
    assert batch["labels"].tolist() == [[-100] * 6 + [4]]
    assert row_length(row) == 7
    for layout in ("appended", "uniform"):
        assert lay_out([row], layout)["position_ids"].tolist() == [[*range(7)]]
    assert "chunk_ids" not in batch


def test_the_text_given_back_takes_its_places_again():
    """Wherever prompts are."""
    row = [TextSegment([1]), LatentSpan(1, 4), LatentSpan(1, 2), TextSegment([2, 3]), TextSegment([5, 6], replays=True)]
    for prompts in ("consecutive", "among_text"):
        assert lay_out([row], "uniform", prompts)["position_ids"].tolist() == [[-3, 1.5, 4.5, -2, -1, 0, 1]]


def test_padding_is_on_the_left():
    short, long = [TextSegment([1], labels=[1])], [LatentSpan(2, 2), TextSegment([3])]
    batch = lay_out([short, long])
    assert batch["input_ids"].tolist() == [[0, 0, 1], [LATENT, LATENT, 3]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 1], [-100] * 3]


def test_hidden_tokens_are_still_learned():
    segment = TextSegment([7, 8, 9], labels=[7, -100, 9], hidden=[False, True, True])
    batch = lay_out([[segment]])
    assert batch["input_ids"].tolist() == [[7, MASK, MASK]] and batch["labels"].tolist() == [[7, -100, 9]]


def test_rows_alike_by_hand():
    """What is an array stands for a row each, what is not for all of them; another row is beside them."""
    text = np.array([[5, 6, 7], [8, 9, 4]])
    hidden = np.array([[False, True, False], [True, False, False]])
    row = [TextSegment([1]), LatentSpan(1, 3), TextSegment([]), TextSegment(text, text, hidden, replays=True)]
    batch = lay_out([row, [TextSegment([3])]])
    assert batch["input_ids"].tolist() == [[1, LATENT, 5, MASK, 7], [1, LATENT, MASK, 9, 4], [0, 0, 0, 0, 3]]
    assert batch["position_ids"].tolist() == [[-1, 1, 0, 1, 2]] * 2 + [[0] * 5]
    assert batch["labels"].tolist() == [[-100, -100, 5, 6, 7], [-100, -100, 8, 9, 4], [-100] * 5]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1] * 5, [0, 0, 0, 0, 1]]
    assert learned_length(row) == 3


def chunks(num_chunks=3, length=4, question=(5, 6)):
    """Text and its latents, chunk by chunk, and a question (VIST2, arXiv 2601.10378)."""
    row = []
    for chunk in range(1, num_chunks + 1):
        row += [TextSegment([10 + chunk] * length, chunk=chunk), LatentSpan(2, length, chunk)]
    return [*row, TextSegment(list(question), labels=list(question))]


def test_chunks_are_numbered_where_something_is_hidden():
    assert lay_out([chunks(2)])["chunk_ids"].tolist() == [[1] * 4 + [-1] * 2 + [2] * 4 + [-2] * 2 + [0] * 2]
    # What stands before sees no chunk: nothing is hidden. Latents see the text of their own, or do not.
    only = [TextSegment([1, 2]), TextSegment([3, 4], chunk=1)]
    assert "chunk_ids" not in lay_out([only])
    for more in (LatentSpan(2, 2, 1), TextSegment([5])):
        assert "chunk_ids" in lay_out([[*only, more]])
    assert "chunk_ids" not in lay_out([[LatentSpan(1, 4, 1), TextSegment([1], chunk=2)]])


@pytest.mark.parametrize("prompt_positions", ["consecutive", "among_text"])
@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_text_of_old_chunks_takes_no_positions(layout, prompt_positions):
    """A chunk's text and its latents begin where the latents before end, also where prompts are among the text."""
    row = [TextSegment([9]), *chunks(2, length=3, question=()), TextSegment([7], chunk=3), TextSegment([8], chunk=3)]
    expected = [0] + [1, 2, 3] + [1, 2] + [3, 4, 5] + [3, 4] + [5, 6]
    assert lay_out([row], layout, prompt_positions)["position_ids"].tolist() == [expected]


@pytest.mark.parametrize("latents_see_chunk", [True, False])
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_what_is_hidden_is_not_seen(layout, attention, latents_see_chunk, make_model):
    """As with a mask that is written out, in a batch with a row that hides nothing."""
    model = make_model(layout, use_mask_embedding=False, latents_see_chunk=latents_see_chunk)
    model.decoder.set_attn_implementation(attention)
    rows = [chunks(), [LatentSpan(2, 4), TextSegment([5, 6], labels=[5, 6])]]
    batch = decoder_rows(rows, layout, model.config.latent_token_id, None)
    torch.manual_seed(0)
    latents = torch.randn(8, model.config.hidden_size)
    # FlexAttention as it is written: it is compiled for half a minute.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        output = model(**batch, latents=latents)
        length = batch["input_ids"].shape[1]
        seen = torch.zeros(2, 1, length, length, dtype=torch.bool)
        for row, ids in enumerate(batch["chunk_ids"].tolist()):
            for query in range(length):
                for key in range(query + 1):
                    same = ids[key] == ids[query] or (latents_see_chunk and ids[key] == abs(ids[query]))
                    visible = ids[key] <= 0 or same
                    seen[row, 0, query, key] = visible and bool(batch["attention_mask"][row, key])
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        plain = {name: each for name, each in batch.items() if name not in ("chunk_ids", "attention_mask")}
        model.decoder.set_attn_implementation("sdpa")
        expected = model(**plain, attention_mask=mask, latents=latents)
        kept = batch["attention_mask"].bool()
        torch.testing.assert_close(output.logits[kept], expected.logits[kept], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(output.loss, expected.loss, rtol=1e-4, atol=1e-4)
        # Otherwise the question would see the first chunk's text.
        open_mask = model(**{name: each for name, each in batch.items() if name != "chunk_ids"}, latents=latents)
        assert not torch.allclose(open_mask.logits[kept], output.logits[kept], rtol=1e-2, atol=1e-2)


def test_chunks_need_a_mask_and_whole_rows(make_model):
    model = make_model("appended")
    batch = decoder_rows([chunks()], "appended", model.config.latent_token_id, None)
    latents = torch.randn(6, model.config.hidden_size)
    with pytest.raises(ValueError, match="chunk_ids are for whole rows: leave past_key_values out"):
        model(**batch, latents=latents, past_key_values=model(input_ids=torch.tensor([[1]])).past_key_values)
    model.config.decoder_config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="FlashAttention takes no chunk_ids, which hide text"):
        model(**batch, latents=latents)
