"""Corrections: the very text comes back, or an error says that it does not. Run: pytest tests/test_corrections.py"""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import normalizers
from transformers import GenerationMixin

from c3 import C3Latents, C3Model, C3Processor, CompressionWarning, InexactTextError, LatentFormatError
from c3.corrections_c3 import TextCorrections, find_corrections, forced_tokens, pack, unpack
from c3.training.data.tokenizer import train_tokenizer
from c3.window_decoding_c3 import _generate_together, prompt_embeds
from tiny_models import LONG, TEXTS

ROOT = Path(__file__).parents[1]
ODD = ["x", " \n\t ", "a\x00b\r\n\r", "<|endoftext|>", "👩‍👩‍👧‍👦é", "ÿ" * 50]


@pytest.fixture(scope="module")
def shipped():
    return C3Model.from_pretrained(ROOT)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "examples" / "jefferson_1805.txt").read_bytes().decode()[:1500]


@pytest.fixture(scope="module")
def exact(shipped, page):
    """A page at a ratio at which greedy decoding loses much of it, a short text, and one of odd characters."""
    texts = [page, *ODD, TEXTS[2] * 3]
    return texts, shipped.compress(texts, ratio=45, exact=True)


def random_corrections(draw, lengths):
    windows = [{i: draw.randrange(300) for i in range(n) if draw.random() < share} for n, share in lengths]
    text = draw.choice([None, "a text\ud7ff 🙂" * draw.randrange(1, 5)])
    return TextCorrections(windows, [draw.randrange(256) for _ in lengths], draw.randrange(2**32), text)


def test_bytes_are_what_was_packed():
    draw = random.Random(0)
    for _ in range(300):
        lengths = [(draw.randrange(1, 300), draw.choice([0, 0.02, 0.5, 1])) for _ in range(draw.randrange(1, 6))]
        corrections = random_corrections(draw, lengths)
        lengths = [length for length, _ in lengths]
        assert unpack(pack(corrections, lengths), lengths) == corrections
    few = TextCorrections([{}, {5: 70}], [1, 2], 3)
    assert len(pack(few, [64, 64])) == 4 + 2 + 1 + 3


def test_other_bytes_are_refused():
    """Whatever bytes there are, they are refused or are corrections of such windows."""
    draw, lengths = random.Random(1), [30, 200]
    good = pack(random_corrections(draw, [(30, 0.1), (200, 0.5)]), lengths)
    refused = 0
    for _ in range(3000):
        data = bytearray(good if draw.random() < 0.7 else draw.randbytes(draw.randrange(40)))
        for _ in range(draw.randrange(1, 4)):
            start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
            data[start : draw.choice([start + 1, end])] = draw.randbytes(draw.randrange(3))
        try:
            found = unpack(bytes(data), lengths, vocab_size=300)
        except LatentFormatError as error:
            refused += 1
            assert "damaged corrections: " in str(error) and str(error).isprintable()
            continue
        assert len(found.windows) == 2 and len(found.window_checksums) == 2
        for stored, length in zip(found.windows, lengths, strict=True):
            assert all(place < length and token < 300 for place, token in stored.items())
    assert refused > 1000


def test_the_very_text_comes_back(shipped, exact, page):
    """Where greedy decoding alone loses it; whatever decodes it, and however it is batched."""
    texts, latents = exact
    assert shipped.expand(replace(latents, corrections=None, check_finite=False))[0] != page
    assert len(latents.corrections[0]) < len(page) / 5 and 0.5 < latents[0].fidelity < 1
    for options in ({}, {"method": "greedy", "batch_size": 5}, {"method": "parallel", "batch_size": 3}):
        assert shipped.expand(latents, **options) == texts
    assert "".join(shipped.expand(latents[0], stream=True)) == page
    assert shipped.generate(latents[0]) == page


def test_drafts_read_what_is_stored(shipped, page):
    """In the places of stored tokens the decoder sees these, and its mask embedding elsewhere."""
    text, seen = page[:200], []
    latents = shipped.compress(text, num_latents=1, exact=True)
    (stored,) = unpack(latents.corrections[0], [latents.text_tokens]).windows
    assert latents.num_windows == 1 and 0 < len(stored) < latents.text_tokens
    hook = shipped.decoder.base_model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        assert shipped.expand(latents, method="parallel") == text
    finally:
        hook.remove()
    ids = [stored.get(place, shipped.config.mask_token_id) for place in range(latents.text_tokens - 1)]
    with torch.no_grad():
        assert torch.equal(seen[0][:, -len(ids) :], shipped.embed_prompt(torch.tensor([ids])))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_dtype_decodes_alike(dtype, shipped, exact):
    texts, latents = exact
    model = C3Model.from_pretrained(ROOT, dtype=dtype)
    assert model.expand(latents, allow_mismatch=True) == texts
    assert shipped.expand(model.compress(texts, ratio=45, exact=True), allow_mismatch=True) == texts


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_a_model_that_knows_nothing_keeps_the_text(layout, make_model):
    """Windows are kept as their tokens then, and decoded by nobody."""
    model = make_model(layout)
    texts = [LONG, *TEXTS, *ODD]
    latents = model.compress(texts, exact=True)
    assert latents.fidelity < 0.1
    assert model.expand(latents) == texts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "embed_prompt", None)
        kept = [text for text, each in zip(texts, latents, strict=True) if not any(each.window_fidelities)]
        assert kept and [model.expand(each) for each in latents if not any(each.window_fidelities)] == kept


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
def test_what_a_tokenizer_loses_is_kept(make_model):
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=300)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    model = make_model("uniform")
    model.processor = C3Processor.from_config(model.config, tokenizer)
    texts = ["It Was the BEST of times", "it was"]
    latents = model.compress(texts, exact=True)
    assert model.expand(latents) == texts
    assert ["".join(model.expand(each, stream=True)) for each in latents] == texts


def test_latents_that_are_not_those_are_found_out(shipped, exact):
    texts, latents = exact
    values = latents.values.clone()
    values[5:9] = values[9:13].clone()
    with pytest.raises(InexactTextError, match="text 0, window [0-9]+, did not come back as it was"):
        shipped.expand(replace(latents, values=values))
    assert shipped.expand(latents[1:]) == texts[1:]
    corrections = unpack(latents.corrections[1], latents[1].text_lengths.tolist())
    forged = pack(replace(corrections, checksum=1), latents[1].text_lengths.tolist())
    with pytest.raises(InexactTextError, match="text 1 did not come back"):
        shipped.expand(replace(latents[[0, 1]], corrections=(latents.corrections[0], forged)))
    with pytest.raises(ValueError, match="damaged corrections: they have the token 9999, but there are 8192"):
        shipped.expand(replace(latents[1], corrections=(pack(TextCorrections([{0: 9999}], [0], 0), [1]),)))


def test_they_stay_with_their_texts(exact, tmp_path):
    texts, latents = exact
    assert latents[2].corrections == (latents.corrections[2],) and latents[1:3].corrections == latents.corrections[1:3]
    assert C3Latents.cat([latents[0], latents[1]]).corrections == latents.corrections[:2]
    plain = replace(latents[1], corrections=None)
    assert C3Latents.cat([latents[0], plain]).corrections is None and plain != latents[1]
    latents.save(tmp_path / "exact.c3")
    loaded = C3Latents.load(tmp_path / "exact.c3")
    assert loaded == latents == C3Latents.from_bytes(latents.to_bytes()) and loaded.corrections == latents.corrections
    assert loaded.window_fidelities == latents.window_fidelities and plain.fidelity is None
    with pytest.raises(ValueError, match=f"corrections are of 1 texts, not of {len(latents)}"):
        replace(latents, corrections=(b"",), check_finite=True)


def test_nothing_is_said_of_characters_that_come_back(shipped, recwarn):
    """Nor of a ratio that is too high for the weights."""
    shipped.compress([TEXTS[2] * 3, TEXTS[0] * 9], ratio=60, exact=True)
    said = " ".join(str(each.message) for each in recwarn)
    assert "may not give back" not in said and "may come back wrong" not in said


def test_written_while_they_are_made(shipped, page, tmp_path):
    latents = shipped.compress(page, ratio=45, exact=True, output=tmp_path / "page.c3")
    assert latents == C3Latents.load(tmp_path / "page.c3") == shipped.compress(page, ratio=45, exact=True)
    assert shipped.expand(latents) == page


def test_generate_is_forced_alike(shipped, page):
    """As processes that share a model decode."""
    latents = shipped.compress(page[:400], ratio=45)
    ids, (spans,) = shipped.processor.encode(page[:400]), latents.spans
    windows = []
    for span in spans:
        windows.append(ids[: span.num_tokens])
        ids = ids[span.num_tokens :]
    stored = find_corrections(shipped, spans, latents.values, windows)
    lengths = [span.num_tokens for span in spans]
    prompt = prompt_embeds(shipped, [shipped.processor.row([span]) for span in spans], latents.values)
    suppressed = torch.tensor(shipped.processor.tokenizer.all_special_ids)
    assert any(stored) and isinstance(shipped, GenerationMixin)
    forced = forced_tokens(stored, max(lengths))
    decoded = _generate_together(shipped, prompt, lengths, suppressed, forced)
    assert [window.ids for window in decoded] == windows
    decoded = _generate_together(shipped, prompt, lengths, suppressed, None)
    assert [window.ids for window in decoded] != windows


@pytest.mark.parametrize("corrections", ["ab", b"a", 5, ("a",), (None,)])
def test_they_are_bytes_for_each_text(corrections, exact):
    _, exact = exact
    with pytest.raises(TypeError, match="corrections must be a tuple of bytes, one for each text"):
        replace(exact[0], corrections=corrections)
    assert replace(exact, corrections=list(exact.corrections)) == exact
    assert f"corrections={sum(map(len, exact.corrections))} B" in repr(exact)
    assert "corrections" not in repr(replace(exact, corrections=None))


def test_no_file_without_its_corrections(shipped, tmp_path, monkeypatch):
    """Where they cannot be written, what was there stays."""
    (tmp_path / "text.c3").write_bytes(b"as it was")

    def fail(*args):
        raise OSError("no space")

    monkeypatch.setattr("c3.measured_windows_c3.MeasuredWindows.corrections", fail)
    with pytest.raises(OSError, match="no space"):
        shipped.compress("a text", exact=True, output=tmp_path / "text.c3")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"as it was"]


def test_generate_says_where_it_leaves_them_out(uniform):
    """Its keywords ask for a decoding of their own, of the latents alone."""
    latents = uniform.compress(LONG, exact=True)
    assert uniform.generate(latents, max_new_tokens=None) == LONG
    with pytest.warns(
        CompressionWarning, match="With max_new_tokens the text is read from the latents alone"
    ) as caught:
        assert uniform.generate(latents, max_new_tokens=1000) != LONG
    assert caught[0].filename == __file__
