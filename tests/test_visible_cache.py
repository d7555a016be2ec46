"""
Rows in chunks without a mask: with a cache from which a chunk's text is gone all is as with the mask that hides it.
Run: pytest tests/test_visible_cache.py
"""

import pytest
import torch

from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.visible_cache_c3 import VisibleCache, can_drop, portions, read_chunks, text_with_latents


def rows_in_chunks():
    """Chunks and their latents of unlike lengths, text and latents that all see, an open chunk at the end or not."""
    first = [TextSegment([3, 4, 5]), LatentSpan(2, 9)]
    for chunk in (1, 2, 3):
        text = [TextSegment([10 + chunk, 20, 30 + chunk], chunk=chunk), TextSegment([7], chunk=chunk)]
        first += [*text, LatentSpan(1 + chunk, 4, chunk), *([LatentSpan(1, 1, chunk)] if chunk == 2 else [])]
    second = [TextSegment([40, 41], chunk=1), LatentSpan(1, 2, 1), TextSegment([50, 51, 52], chunk=2)]
    third = [TextSegment([60, 61, 62, 63, 64, 65])]
    return [[*first, TextSegment([8, 9])], second, third]


@pytest.fixture(params=[True, False], ids=["seen", "unseen"])
def sees_chunk(request):
    return request.param


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_equal_to_the_mask(layout, sees_chunk, make_model):
    """The logits at every position of a batch that is read, one portion after the other, with what is gone gone."""
    model = make_model(layout, latents_see_chunk=sees_chunk)
    rows = rows_in_chunks()
    batch = model.processor.decoder_inputs(rows)
    torch.manual_seed(0)
    latents = torch.randn(2 + 2 + 3 + 1 + 4 + 1, model.config.hidden_size)
    chunk_ids, embeds = batch["chunk_ids"], model.embed_prompt(batch["input_ids"], latents)
    leaves = text_with_latents(chunk_ids)
    cache, seen = VisibleCache(model, len(rows)), torch.zeros_like(batch["input_ids"])
    with torch.no_grad():
        expected = model(**batch, latents=latents).logits
        for columns, is_there in portions(chunk_ids, batch["attention_mask"].bool(), sees_chunk):
            logits = cache.read(
                embeds.gather(1, columns.unsqueeze(-1).expand(-1, -1, embeds.shape[-1])),
                is_there,
                batch["position_ids"].gather(1, columns),
                leaves.gather(1, columns) & is_there,
                logits_to_keep=0,
            )
            for row in range(len(rows)):
                at = columns[row, is_there[row]]
                torch.testing.assert_close(logits[row, is_there[row]], expected[row, at], rtol=1e-4, atol=1e-4)
                seen[row, at] += 1
            cache.drop()
            assert cache.mask.shape[1] == cache.cache.get_seq_length() == cache.mask.sum(-1).max()
    # Every position was read once; text before its latents only where these see it.
    read = batch["attention_mask"].bool() if sees_chunk else batch["attention_mask"].bool() & ~leaves
    assert seen.tolist() == read.long().tolist()
    # What is left is what all see, and the chunk that is open.
    assert cache.mask.sum(-1).tolist() == [3 + 2 + 2 + 3 + 1 + 4 + 2, 1 + 3, 6]
    read_at_once = read_chunks(model, rows, latents)
    torch.testing.assert_close(read_at_once.logits, expected[:, -1], rtol=1e-4, atol=1e-4)
    assert read_at_once.num_bytes == cache.num_bytes <= read_at_once.most_bytes == cache.most_bytes


def test_the_switch_makes_a_difference(make_model):
    """Otherwise neither setting would be tested."""
    model = make_model("uniform")
    latents = torch.randn(13, model.config.hidden_size)
    logits = []
    for sees in (True, False):
        model.config.latents_see_chunk = sees
        with torch.no_grad():
            logits.append(read_chunks(model, rows_in_chunks(), latents).logits)
    assert not torch.allclose(logits[0][:2], logits[1][:2], rtol=1e-2, atol=1e-2)
    # The third row has no chunks.
    torch.testing.assert_close(logits[0][2], logits[1][2], rtol=1e-4, atol=1e-4)


def test_decoders_whose_keys_cannot_leave(make_model):
    assert can_drop(make_model("uniform"))
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
    assert not can_drop(make_model("uniform", decoder_options=sliding))
