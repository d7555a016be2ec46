"""generate(raw_below=…): windows that are read as their text's tokens. Run: pytest tests/test_raw_windows.py"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from c3 import C3Model, InexactTextError
from c3.corrections_c3 import TextCorrections, checksum_of_ids, pack
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.expansion_c3 import prompt_embeds
from c3.raw_windows_c3 import with_raw_windows
from tiny_models import LONG, TEXTS

ROOT = Path(__file__).parents[1]
GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def shipped():
    return C3Model.from_pretrained(ROOT)


def window_ids(model, texts):
    return [[window.text_ids for window in model.processor.plan(text).windows] for text in texts]


def forged(model, texts, is_raw):
    """Latents whose windows are kept as their tokens, or hold all of them: so their corrections say."""
    latents, packed, place = model.compress(texts), [], 0
    for windows in window_ids(model, texts):
        raw = is_raw[place : place + len(windows)]
        place += len(windows)
        stored = [dict(enumerate(ids)) if each else {} for ids, each in zip(windows, raw, strict=True)]
        corrections = TextCorrections(stored, list(map(checksum_of_ids, windows)), 0)
        packed.append(pack(corrections, list(map(len, windows))))
    return replace(latents, corrections=tuple(packed))


def test_no_window_and_all_windows(model):
    """As without it; as the decoder goes on from the plain tokens."""
    texts, prompt = [LONG, *TEXTS], "Go on: "
    latents = model.compress(texts, exact=True)
    assert model.generate(latents, prompt, raw_below=0, **GREEDY) == model.generate(latents, prompt, **GREEDY)
    raw = model.generate(latents, prompt, raw_below=1.01, **GREEDY)
    asked = model.processor.encode_prompt(prompt)
    for text, answer in zip(texts, raw, strict=True):
        ids = torch.tensor([model.processor.encode(text) + asked])
        plain = model.decoder.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **GREEDY)
        assert answer == model.processor.decode(plain[0, ids.shape[1] :])
    assert model.generate(latents[0], prompt, raw_below=1.01, **GREEDY) == raw[0]
    assert raw != model.generate(latents, prompt, **GREEDY)


@pytest.mark.parametrize(
    "layout,prompt_positions", [("appended", "consecutive"), ("uniform", "consecutive"), ("uniform", "among_text")]
)
def test_some_windows(layout, prompt_positions, make_model):
    """Tokens take the place of their window's latents; among the text all that is around them stays where it was."""
    model = make_model(layout, prompt_positions=prompt_positions)
    texts = [LONG, TEXTS[0]]
    windows = window_ids(model, texts)
    assert len(windows[0]) > 3 and len(windows[1]) > 1
    is_raw = [place % 3 == 0 for place in range(len(windows[0]) + len(windows[1]))]
    latents = forged(model, texts, is_raw)
    spans, values = with_raw_windows(model, latents, 0.5)
    flat = [segment for text in spans for segment in text]
    assert [isinstance(each, TextSegment) for each in flat] == is_raw
    kept = [part for part, raw in zip(latents.windows(), is_raw, strict=True) if not raw]
    assert torch.equal(values, torch.cat(kept))
    for text in (0, 1):
        inputs = prompt_embeds(model, [model.processor.row(each, "Go on: ") for each in spans], values)
        whole = prompt_embeds(model, [model.processor.row(each, "Go on: ") for each in latents.spans], latents.values)
        assert "chunk_ids" not in inputs
        embeds = model.get_input_embeddings()
        rows, places, start = [], [], 0
        for place, ids in zip(latents.windows_of_texts[text], windows[text], strict=True):
            part = latents.windows()[place].to(embeds.weight.dtype)
            rows.append(embeds(torch.tensor(ids)) if is_raw[place] else part)
            n = len(part)
            latent_places = start + (torch.arange(n) + 0.5) * len(ids) / n - 0.5
            places.append(start + torch.arange(len(ids)).float() if is_raw[place] else latent_places)
            start += len(ids)
        asked = embeds(torch.tensor(model.processor.encode("Go on: ")))
        expected = torch.cat([*rows, asked])
        torch.testing.assert_close(inputs["inputs_embeds"][text, -len(expected) :], expected)
        positions = inputs["position_ids"][text, -len(expected) :].float()
        if prompt_positions == "among_text":
            places = torch.cat([*places, start + torch.arange(len(asked)).float()])
            torch.testing.assert_close(positions - positions[-1], places - places[-1])
            theirs = whole["position_ids"][text, -len(asked) - 1 :].float()
            assert len(asked) and torch.equal((positions - positions[-1])[-len(asked) :], (theirs - theirs[-1])[1:])
        else:
            assert torch.equal(positions, torch.arange(len(expected)).float())
    answers = model.generate(latents, "Go on: ", raw_below=0.5, **GREEDY)
    assert answers == [model.generate(each, "Go on: ", raw_below=0.5, **GREEDY) for each in latents]


def test_windows_that_are_kept_as_tokens_are_not_decoded(model, monkeypatch):
    latents = model.compress([LONG, *TEXTS], exact=True)
    windows = [ids for text in window_ids(model, [LONG, *TEXTS]) for ids in text]
    monkeypatch.setattr(model, "embed_prompt", None)
    spans, _ = with_raw_windows(model, latents, 1e-9)
    flat = [segment for text in spans for segment in text]
    kept = [place for place, each in enumerate(latents.window_fidelities) if each == 0]
    assert kept == [place for place, each in enumerate(flat) if isinstance(each, TextSegment)] != []
    assert [flat[place].ids for place in kept] == [windows[place] for place in kept]


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
def test_only_those_windows_are_decoded(shipped, monkeypatch):
    page = (ROOT / "examples" / "jefferson_1805.txt").read_text(encoding="utf-8")[:900]
    texts = [TEXTS[0], page, "".join(map(chr, range(0x20000, 0x20800, 97)))]
    latents = shipped.compress(texts, ratio=45, exact=True)
    fidelities = latents.window_fidelities
    decoded, decode = [], type(shipped).forward
    plans = [window.text_ids for text in texts for window in shipped.processor.plan(text, ratio=45).windows]
    monkeypatch.setattr(type(shipped), "forward", lambda *args, **more: decoded.append(1) or decode(*args, **more))
    spans, values = with_raw_windows(shipped, latents, 0.98)
    flat = [segment for text in spans for segment in text]
    assert decoded and [isinstance(each, LatentSpan) for each in flat] == [each >= 0.98 for each in fidelities]
    assert 0 < sum(each < 0.98 for each in fidelities) < len(fidelities)
    for segment, ids in zip(flat, plans, strict=True):
        assert isinstance(segment, LatentSpan) or segment.ids == ids
    decoded.clear()
    assert min(fidelities) > 0.01 and torch.equal(with_raw_windows(shipped, latents, 0.01)[1], latents.values)
    assert not decoded
    # Latents that are not those are found out.
    worst = min((each, place) for place, each in enumerate(fidelities) if each)[1]
    monkeypatch.undo()
    other = latents.values.clone()
    other[sum(latents.latent_lengths[:worst].tolist())] *= -1
    text = next(index for index, owned in enumerate(latents.windows_of_texts) if worst in owned)
    number = worst - latents.windows_of_texts[text].start
    with pytest.raises(InexactTextError, match=f"^text {text}, window {number}, did not come back as it was"):
        with_raw_windows(shipped, replace(latents, values=other), 0.98)


def test_what_it_cannot_be(uniform, monkeypatch):
    exact, plain = uniform.compress("a text", exact=True), uniform.compress("a text", measure=True)
    monkeypatch.setattr(type(uniform), "embed_prompt", None)
    for value in ("0.9", -0.1, float("nan"), True, [1]):
        with pytest.raises(ValueError, match="raw_below must be a number of 0 or more"):
            uniform.generate(exact, "Go on: ", raw_below=value)
    with pytest.raises(ValueError, match=r"these latents do not have: make them with compress\(text, exact=True\)"):
        uniform.generate(plain, "Go on: ", raw_below=0.9)
    for prompt in (None, uniform.config.reconstruction_prompt):
        with pytest.raises(ValueError, match="raw_below is for prompts: leave it out"):
            uniform.generate(exact, prompt, raw_below=0.9)
    with pytest.raises(ValueError, match="raw_below needs latents from compress"):
        uniform.generate(torch.tensor([[5]]), raw_below=0.9)
    assert uniform.generate(exact[[0]][:0], "Go on: ", raw_below=0.9) == []
