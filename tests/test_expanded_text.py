"""expand with scores: margins from all ways of decoding, and which characters they speak of."""

from math import inf
from pathlib import Path

import pytest
import torch
from tokenizers import decoders, normalizers, pre_tokenizers

from c3 import C3Model, C3Processor, ExpandedText, ExpandedWindow
from c3.text_pieces_c3 import joined_pieces, with_texts
from c3.training.data.tokenizer import train_tokenizer
from c3.window_decoding_c3 import DECODING_METHODS, _generate_together, prompt_embeds
from tiny_models import LONG, TEXTS

ROOT = Path(__file__).parents[1]
NASTY = ["x", "👩‍👩‍👧‍👦é", "ÿ" * 50, "\ufffd\ufffd and \ufffd", "日本語の文章"]


@pytest.fixture(scope="module")
def shipped():
    return C3Model.from_pretrained(ROOT)


@pytest.fixture(scope="module")
def page():
    return (ROOT / "examples" / "jefferson_1805.txt").read_bytes().decode()[:700]


def margins_of(text):
    return torch.tensor([margin for window in text.windows for margin in window.margins])


def test_in_the_place_of_each_text(model):
    latents = model.compress([LONG, *NASTY, *TEXTS])
    plain, scored = model.expand(latents), model.expand(latents, return_scores=True)
    assert [each.text for each in scored] == plain
    assert isinstance(model.expand(latents[0]), str) and model.expand(latents[0], return_scores=True).text == plain[0]
    assert model.expand(latents[:0], return_scores=True) == []
    for text, spans in zip(scored, latents.spans, strict=True):
        assert [len(window.ids) for window in text.windows] == [span.num_tokens for span in spans]
        assert all(len(each.ids) == len(each.margins) == len(each.token_spans) for each in text.windows)
        assert all(window.distance is None and window.comes_back is None for window in text.windows)
    streamed = [ExpandedText([]) for _ in scored]
    for index, window in model.expand(latents, return_scores=True, stream=True, method="greedy"):
        streamed[index].windows.append(window)
    assert [[each.text for each in one.windows] for one in streamed] == [
        [each.text for each in one.windows] for one in scored
    ]
    for one, other in zip(streamed, scored, strict=True):
        torch.testing.assert_close(margins_of(one), margins_of(other), atol=1e-4, rtol=1e-4)
    assert (
        list(map(type, model.expand(latents[0], return_scores=True, stream=True)))
        == [ExpandedWindow] * latents[0].num_windows
    )


def test_margins_are_those_of_the_logits(model):
    """Of the decoder's, recomputed in one pass over what came back."""
    latents = model.compress(TEXTS[0])
    (window,) = model.expand(latents, return_scores=True).windows[:1]
    span = latents.spans[0][0]
    batch = model.processor.decoder_inputs([model.processor.row([span], target=window.ids)])
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch, latents=latents.windows()[0]).logits[0, :-1][labels[0, 1:] != -100]
    logits[:, model.processor.tokenizer.all_special_ids] = -inf
    first, second = logits.topk(2).values.unbind(-1)
    assert logits.argmax(-1).tolist() == window.ids
    torch.testing.assert_close(torch.tensor(window.margins), first - second, atol=1e-4, rtol=1e-4)


def test_all_ways_of_decoding_agree(shipped, page):
    latents = shipped.compress(page, ratio=25)
    greedy, parallel = (shipped.expand(latents, method=each, return_scores=True) for each in ("greedy", "parallel"))
    assert greedy.text == parallel.text == shipped.expand(latents)
    torch.testing.assert_close(margins_of(greedy), margins_of(parallel), atol=1e-3, rtol=1e-3)
    rows = [shipped.processor.row([span]) for span in latents.spans[0]]
    prompt, lengths = prompt_embeds(shipped, rows, latents.values), latents.text_lengths.tolist()
    suppressed = torch.tensor(shipped.processor.tokenizer.all_special_ids)
    together = ExpandedText(_generate_together(shipped, prompt, lengths, suppressed, None, with_margins=True))
    assert [each.ids for each in together.windows] == [each.ids for each in greedy.windows]
    torch.testing.assert_close(margins_of(greedy), margins_of(together), atol=1e-3, rtol=1e-3)
    assert 0 <= margins_of(greedy).min() < 1 < margins_of(greedy).median()


def test_decoder_that_forgets(make_model):
    """Rows that are left when the cache is full have the margins of one token a pass."""
    options = dict(use_sliding_window=True, sliding_window=60, max_window_layers=1)
    model = make_model(decoder="qwen2", decoder_options=options)
    latents = model.compress([LONG, *TEXTS])
    greedy, parallel = (model.expand(latents, method=each, return_scores=True) for each in ("greedy", "parallel"))
    for one, other in zip(greedy, parallel, strict=True):
        torch.testing.assert_close(margins_of(one), margins_of(other), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["greedy", "parallel"])
def test_what_is_stored_is_certain(method, shipped, page):
    texts = [page, "\x00\x01odd\x02" * 3]
    latents = shipped.compress(texts, ratio=45, exact=True)
    scored = shipped.expand(latents, method=method, return_scores=True)
    assert [each.text for each in scored] == texts
    for text, each in zip(scored, latents, strict=True):
        is_stored = margins_of(text) == inf
        assert is_stored.double().mean() == pytest.approx(1 - each.fidelity)
    assert 0 < (margins_of(scored[0]) < inf).sum() < len(margins_of(scored[0]))


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
def test_a_text_that_is_stored_itself(make_model):
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=300)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    model = make_model("uniform")
    model.processor = C3Processor.from_config(model.config, tokenizer)
    text = "It Was the BEST of times, " * 4
    scored = model.expand(model.compress(text, exact=True), return_scores=True)
    assert [each.text for each in scored.windows] == [""] * (len(scored.windows) - 1) + [text]
    assert len(scored.windows) > 1 and scored.uncertain_spans(inf) == []


def byte_fallback(tokenizer):
    """As tokenizers made with SentencePiece are: words begin with a mark, and bytes of others are tokens."""
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.add_tokens(["▁the", "▁cat", "s", *(f"<0x{byte:02X}>" for byte in "é日x".encode())])
    words = ["▁the", "▁cat", "s", *(f"<0x{byte:02X}>" for byte in "é日".encode()), "▁the", "<0xE6>", "<0x97>"]
    return tokenizer.convert_tokens_to_ids(words)


def check_pieces(processor, ids, size):
    """Windows of `size` tokens add up to the text, and the characters of tokens to it."""
    windows = [ids[start : start + size] for start in range(0, len(ids), size)]
    whole = processor.decode(ids)
    assert "".join(joined_pieces(processor, windows)) == whole
    scored = [ExpandedWindow(each, [float(size)] * len(each)) for each in windows]
    scored = ExpandedText(list(with_texts(processor, scored, len(windows))))
    assert scored.text == whole
    assert scored.uncertain_spans(size + 1) == ([(0, len(whole))] if whole else [])
    assert scored.uncertain_spans(size) == []
    return scored


@pytest.mark.filterwarnings("ignore::c3.CompressionWarning")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_and_characters(size, tokenizer, model):
    processor = model.processor
    texts = [LONG, *NASTY, *TEXTS, "a\ufffd"]
    for text in texts:
        ids = processor.encode(text)
        assert check_pieces(processor, ids, size).text == text
        check_pieces(processor, ids[:-1], size)  # the last character may be cut
    other = train_tokenizer(TEXTS * 4, vocab_size=300)
    ids = byte_fallback(other)
    assert other.decode(ids).startswith("the cats") and other.decode(ids).endswith("日 the\ufffd\ufffd")
    check_pieces(C3Processor.from_config(model.config, other), ids, size)


def test_tokens_that_share_a_character(model):
    """Each token has the characters that it holds a byte of, also where they lie in two windows."""
    ids = model.processor.encode("|ß日b")
    bytes_of = [len(model.processor.tokenizer.convert_ids_to_tokens(each)) for each in ids]
    assert bytes_of == [1] * 7, "the tokenizer has a token of several bytes"
    expected = [(0, 1), (1, 2), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4)]
    for cut in range(1, 7):
        windows = [ExpandedWindow(each, [1.0] * len(each)) for each in (ids[:cut], ids[cut:])]
        first, second = with_texts(model.processor, windows, 2)
        start = len(first.text)
        spans = first.token_spans + [(a + start, b + start) for a, b in second.token_spans]
        assert spans == expected and first.text + second.text == "|ß日b"
    assert [first.text, second.text] == ["|ß日", "b"]


def test_uncertain_spans():
    windows = [
        ExpandedWindow([1, 2, 3], [9.0, 1.0, 0.5], "abcd", [(0, 1), (1, 2), (2, 4)]),
        ExpandedWindow([4, 5, 6], [0.9, 5.0, 0.1], "efgh", [(0, 1), (1, 3), (3, 4)]),
    ]
    text = ExpandedText(windows)
    assert text.text == "abcdefgh"
    assert text.uncertain_spans(2) == [(1, 5), (7, 8)]
    assert text.uncertain_spans(0.7) == [(2, 4), (7, 8)]
    assert text.uncertain_spans(0.1) == [] and text.uncertain_spans(inf) == [(0, 8)]
    with pytest.raises(ValueError, match="below must be a number .of logits., not '2'"):
        text.uncertain_spans("2")


def test_what_was_not_asked_for_is_not_known(uniform):
    latents = uniform.compress(LONG)
    with pytest.raises(ValueError, match="ask for them, by expand.latents, return_scores=True."):
        uniform.expand(latents, check=True).uncertain_spans(2)
    with pytest.raises(ValueError, match="ask for them, by expand.latents, check=True."):
        uniform.expand(latents, return_scores=True).lost_windows  # noqa: B018


def test_a_way_of_decoding_that_gives_no_margins(model, monkeypatch):
    latents = model.compress(TEXTS[1])
    greedy = DECODING_METHODS["greedy"]
    monkeypatch.setitem(DECODING_METHODS, "plain", lambda *args: greedy(*args[:-1]))
    assert model.expand(latents, method="plain") == model.expand(latents)
    with pytest.raises(ValueError, match="method='plain' gives no margins, which return_scores needs"):
        model.expand(latents, method="plain", return_scores=True)
