"""expand: drafting whole windows and correcting them gives the text of greedy decoding, in fewer passes."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from c3 import C3Latents, parallel_decoding_c3
from c3.decoder_rows_c3 import LatentSpan
from c3.greedy_decoding_c3 import choose
from c3.parallel_decoding_c3 import PASS_IN_POSITIONS, _tokens_to_read, expected_error_rate, is_worth_drafting
from tiny_models import LONG, TEXTS

NASTY = ["x", " \n\t ", "a\x00b", "<|endoftext|>", "\r\n\r\n", "👩‍👩‍👧‍👦é", "ÿ" * 50]


def windows_of(model, latents, method, batch_size=8):
    """The ids of all windows, in order, and the number of tokens in each of the decoder's passes."""
    passes = []
    hook = model.decoder.base_model.register_forward_pre_hook(
        lambda _, __, kwargs: passes.append(kwargs["attention_mask"].shape), with_kwargs=True
    )
    try:
        options = {"method": method, "batch_size": batch_size, "show_progress": False}
        found = model.expand(latents, **options, return_scores=True)
    finally:
        hook.remove()
    texts = [found] if latents.single else found
    return [window.ids for text in texts for window in text.windows], len(passes)


def test_expand_gives_exactly_the_stored_number_of_tokens(model):
    latents = model.compress([LONG, *NASTY])
    windows, _ = windows_of(model, latents, "greedy", 4)
    assert [len(ids) for ids in windows] == latents.text_lengths.tolist()
    special = set(model.processor.tokenizer.all_special_ids)
    assert not any(special & set(ids) for ids in windows)


def test_batches_do_not_change_the_text(model):
    latents = model.compress([LONG, *TEXTS])
    whole = model.expand(latents, batch_size=100)
    assert whole == model.expand(latents, batch_size=1) == model.expand(latents, batch_size=3)
    assert whole == [model.expand(text) for text in latents]


def test_expand_equals_generation_without_cache_window_by_window(model):
    latents = model.compress(TEXTS[0])
    special = model.processor.tokenizer.all_special_ids
    text = ""
    for window in range(latents.num_windows):
        count, length = int(latents.latent_lengths[window]), int(latents.text_lengths[window])
        batch = model.processor.decoder_inputs([model.processor.row([LatentSpan(count, length)])])
        ids = []
        for _ in range(length):
            following = torch.tensor([ids], dtype=torch.long)
            last = batch["position_ids"][0, -1]
            positions = torch.cat([batch["position_ids"], (last + 1 + torch.arange(len(ids)))[None]], dim=1)
            with torch.no_grad():
                logits = model(
                    input_ids=torch.cat([batch["input_ids"], following], dim=1),
                    position_ids=positions,
                    latents=latents.windows()[window],
                    use_cache=False,
                ).logits[0, -1]
            logits[special] = -torch.inf
            ids.append(int(logits.argmax()))
        text += model.processor.decode(ids)
    assert model.expand(latents, batch_size=1) == text


def test_stream_gives_the_same_text_in_order(model):
    latents = model.compress([LONG, *NASTY, *TEXTS])
    texts = [""] * len(latents)
    order = []
    for index, piece in model.expand(latents, batch_size=2, stream=True):
        texts[index] += piece
        order.append(index)
    assert texts == model.expand(latents)
    assert order == sorted(order)
    pieces = list(model.expand(latents[0], batch_size=2, stream=True))
    assert len(pieces) > 3 and "".join(pieces) == texts[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vocabulary", [5, 300, 8192, 151_936])
def test_of_equally_likely_tokens_the_first_is_chosen(vocabulary, dtype):
    """As argmax would, among many ties, with tokens that are suppressed, and where no number is left."""
    logits = torch.randint(-3, 3, (4, 3, vocabulary), generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[0, 1], logits[1, 2, vocabulary // 2 :] = -torch.inf, torch.nan
    suppressed = torch.tensor([0, 3])
    expected = logits.index_fill(-1, suppressed, -torch.inf)
    ids, margins = choose(logits.clone(), suppressed)
    with_margins = choose(logits.clone(), suppressed, with_margins=True)
    assert margins is None and torch.equal(ids, expected.argmax(-1)) and torch.equal(ids, with_margins[0])
    # Of two or more that lead, none leads the next.
    ranked = expected.sort(-1, descending=True).values.float()
    assert torch.equal((ranked[..., 0] - ranked[..., 1])[2:], with_margins[1][2:])
    assert vocabulary < 300 or not with_margins[1][2:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_round_trip_runs(dtype, make_model):
    model = make_model("uniform").to(dtype)
    latents = model.compress(TEXTS)
    assert latents.dtype == dtype
    assert len(model.expand(latents)) == 3


@pytest.fixture(scope="module")
def decoded_greedily(make_model):
    """By layout and decoder: a model, latents, the ids of their windows and the number of passes; each made once."""

    @cache
    def decode(layout, decoder):
        model = make_model(layout, decoder=decoder)
        latents = model.compress([LONG, *TEXTS, *NASTY])
        return model, latents, *windows_of(model, latents, "greedy", 100)

    return decode


@pytest.mark.parametrize("layout", ["uniform", "appended"])
@pytest.mark.parametrize("decoder", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("overhead", [0, 80, 10**6], ids=["few-at-a-time", "as-measured", "all-at-once"])
def test_parallel_equals_greedy(layout, decoder, batch_size, overhead, decoded_greedily, monkeypatch):
    monkeypatch.setitem(PASS_IN_POSITIONS, "cpu", overhead)
    model, latents, greedy, passes = decoded_greedily(layout, decoder)
    drafted, most = windows_of(model, latents, "parallel", batch_size)
    assert drafted == greedy
    assert [len(ids) for ids in drafted] == latents.text_lengths.tolist()
    assert len({tuple(ids) for ids in greedy}) > 5, "the model says the same of every window"
    if batch_size == 100:
        # At least one token is certain after each pass.
        assert passes == max(latents.text_lengths) and most <= passes + 1


@pytest.mark.parametrize("room", [16, 60, 90, 1000])
def test_decoder_that_forgets(room, make_model, monkeypatch):
    """Sliding windows: drafted while the cache has room for tokens that proved wrong, then one token a pass."""
    monkeypatch.setitem(PASS_IN_POSITIONS, "cpu", 10**6)
    options = dict(use_sliding_window=True, sliding_window=room, max_window_layers=1)
    model = make_model(decoder="qwen2", decoder_options=options)
    latents = model.compress([LONG, *TEXTS])
    greedy, passes = windows_of(model, latents, "greedy", 100)
    drafted, most = windows_of(model, latents, "parallel", 100)
    assert drafted == greedy
    # Passes over drafts, and then as many as without them.
    assert (most > passes) == (room in (60, 90))
    one = latents[2]
    plain = model.generate(one, do_sample=False, max_new_tokens=one.text_tokens, eos_token_id=[])
    assert plain == model.expand(one, method="greedy")


def test_a_draft_without_errors_takes_two_passes(make_model, monkeypatch):
    monkeypatch.setitem(PASS_IN_POSITIONS, "cpu", 10**6)
    model = make_model()
    with torch.no_grad():
        # A decoder whose choice does not depend on what it reads.
        model.decoder.lm_head.weight.zero_()
        model.decoder.lm_head.weight[7] = 1
        model.decoder.model.norm.weight.zero_()
    latents = model.compress(LONG)
    ids, passes = windows_of(model, latents, "parallel", 100)
    assert passes == 2 and ids == windows_of(model, latents, "greedy", 100)[0]


def test_tokens_read_in_a_pass():
    """All that are left where a pass costs mostly itself; fewer, the more rows and the more errors; never none."""
    for rate in (1e-6, 1 / 64, 0.3, 1.0):
        of_rows = [_tokens_to_read("cpu", torch.full((rows,), 63), rate) for rows in (1, 8, 64, 4096)]
        assert of_rows == sorted(of_rows, reverse=True) and 1 <= of_rows[-1] and of_rows[0] <= 63
        assert _tokens_to_read("cpu", torch.tensor([1]), rate) == 1
    of_rates = [_tokens_to_read("cpu", torch.full((64,), 63), rate) for rate in (1e-6, 1 / 64, 0.3, 1.0)]
    assert of_rates == sorted(of_rates, reverse=True) and of_rates[0] == 63 and of_rates[-1] == 1
    # Two rows that have much left do not make 62 others read beyond their ends.
    assert _tokens_to_read("cpu", torch.tensor([9] * 62 + [40] * 2), 1 / 64) == 9


def test_windows_of_one_token(make_model):
    model = make_model()
    latents = model.compress(["x"] * 3)
    assert set(latents.text_lengths.tolist()) == {1}
    drafted, passes = windows_of(model, latents, "parallel")
    assert passes == 1 and drafted == windows_of(model, latents, "greedy")[0]


def test_finished_windows_leave_the_batch(make_model):
    """Short windows beside long ones are not computed on, and none is lost or swapped."""
    model = make_model()
    latents = model.compress([LONG, "x", TEXTS[1], "yz"])
    rows = []
    hook = model.decoder.register_forward_pre_hook(
        lambda _, __, kwargs: rows.append(len(kwargs["attention_mask"])), with_kwargs=True
    )
    expanded = model.expand(latents, method="greedy", batch_size=100)
    hook.remove()
    assert rows[0] == latents.num_windows and sum(rows) == latents.text_tokens
    assert expanded == [model.expand(each, method="greedy") for each in latents]


def test_method_by_default_and_by_name(make_model):
    trained, untrained = make_model(), make_model(use_mask_embedding=False)
    latents = trained.compress(LONG)
    calls = []
    hook = trained.decoder.base_model.register_forward_pre_hook(lambda *_: calls.append(1))
    texts = {}
    for method in (None, "parallel", "greedy"):
        calls.clear()
        texts[method] = trained.expand(latents, method=method, batch_size=100), len(calls)
    hook.remove()
    assert texts[None] == texts["parallel"] and texts["parallel"][0] == texts["greedy"][0]
    assert texts["greedy"][1] == max(latents.text_lengths)
    assert untrained.expand(untrained.compress(LONG)) == untrained.expand(untrained.compress(LONG), method="greedy")
    with pytest.raises(ValueError, match="needs a decoder that was trained with a mask embedding"):
        untrained.expand(untrained.compress(LONG), method="parallel")
    with pytest.raises(ValueError, match="method must be one of greedy, parallel, search, not 'beam'"):
        trained.expand(latents, method="beam")


def test_greedy_by_default_for_many_windows(make_model, monkeypatch):
    model = make_model()
    latents = model.compress(LONG)
    for overhead, method in ((0, "greedy"), (10**6, "parallel")):
        monkeypatch.setitem(PASS_IN_POSITIONS, "cpu", overhead)
        assert windows_of(model, latents, None, 100)[1] == windows_of(model, latents, method, 100)[1]


def test_greedy_by_default_where_drafts_have_many_errors(make_model, monkeypatch):
    """The rule knows the tokens per latent, and how many windows go at once."""
    model = make_model()
    monkeypatch.setattr(parallel_decoding_c3, "DRAFT_ERRORS", {4: 0.01, 8: 0.9})
    draft = parallel_decoding_c3._draft
    for ratio, method in ((4, "parallel"), (8, "greedy")):
        latents = model.compress(LONG, ratio=ratio)
        drafted = []
        monkeypatch.setattr(
            parallel_decoding_c3, "_draft", lambda *args, calls=drafted: calls.append(1) or draft(*args)
        )
        assert windows_of(model, latents, None, 8) == windows_of(model, latents, method, 8)
        assert bool(drafted) == (method == "parallel")
    counts = (64, 16, 13, 11, 9, 8, 1)
    rates = [expected_error_rate([LatentSpan(n, 64)] * 8) for n in counts]
    assert rates == sorted(rates) and rates[:2] == [0.01] * 2 and rates[-2:] == [0.9] * 2
    worth = [is_worth_drafting("cpu", [LatentSpan(n, 64)] * 8) for n in counts]
    assert worth == sorted(worth, reverse=True) and worth[0] and not worth[-1]
    worth = [is_worth_drafting("cpu", [LatentSpan(64, 64)] * 8 * rows) for rows in (1, 4, 16, 64)]
    assert worth == sorted(worth, reverse=True) and worth[0] and not worth[-1]


def test_stream_with_either_method(make_model):
    model = make_model()
    latents = C3Latents.cat([model.compress(each) for each in (LONG, TEXTS[2])])
    for method in ("greedy", "parallel"):
        texts = [""] * 2
        for index, piece in model.expand(latents, method=method, batch_size=2, stream=True):
            texts[index] += piece
        assert texts == model.expand(latents, method=method)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_parallel_runs(dtype, make_model):
    model = make_model().to(dtype)
    latents = model.compress([LONG, *TEXTS])
    windows, _ = windows_of(model, latents, "parallel")
    assert [len(ids) for ids in windows] == latents.text_lengths.tolist()


def test_expand_leaves_no_gradients(make_model):
    """Parameters that require gradients, as in evaluation while training, do not make the passes build graphs."""
    model = make_model()
    seen = []
    hook = model.decoder.base_model.register_forward_hook(
        lambda _, __, output: seen.append(output.last_hidden_state.requires_grad)
    )
    model.expand(model.compress(TEXTS[0]))
    hook.remove()
    assert seen and not any(seen)


@pytest.mark.parametrize("layout, most_latents", [("uniform", 32), ("appended", 8)])
def test_latents_that_the_model_cannot_have_made(layout, most_latents, make_model, monkeypatch):
    model = make_model(layout)
    latents = C3Latents.from_bytes(model.compress(LONG).to_bytes())
    claims = {
        f"window 1 has 1000000000 text tokens, but this model's windows have 1 to {model.config.window}": replace(
            latents, text_lengths=latents.text_lengths.index_fill(0, torch.tensor([1]), 10**9)
        ),
        f"has {most_latents + 1} latents, but this model's windows have 1 to {most_latents}": C3Latents(
            torch.zeros(most_latents + 1, 32), *(torch.tensor([n]) for n in (most_latents + 1, 32, 1))
        ),
    }
    if layout == "uniform":
        few = torch.tensor([3])
        claims["window 0 has 4 latents for 3 text tokens"] = C3Latents(torch.zeros(4, 32), few + 1, few, few // 3)
    # Before anything is decoded, or put into memory for it.
    monkeypatch.setattr(model, "embed_prompt", None)
    for message, forged in claims.items():
        for read in (
            lambda forged: model.expand(forged, allow_mismatch=True),
            lambda forged: model.expand(forged, stream=True, allow_mismatch=True),
            lambda forged: model.generate(forged, allow_mismatch=True),
            lambda forged: model.generate(forged, "prompt", allow_mismatch=True),
        ):
            with pytest.raises(ValueError, match=f"This model cannot have made these latents: .*{message}"):
                read(forged)


def test_no_texts_give_no_texts(make_model):
    model = make_model("uniform")
    none = model.compress(TEXTS)[:0]
    assert model.expand(none) == [] and list(model.expand(none, stream=True)) == []
    assert model.generate(none) == model.generate(none, "prompt") == []


@pytest.mark.parametrize("method", ["greedy", "parallel"])
def test_under_autocast(method, make_model):
    """As training evaluates: Qwen3 normalises keys, but not values, in float32."""
    model = make_model()
    latents = model.compress([LONG, TEXTS[0]])
    with torch.autocast("cpu", torch.bfloat16):
        texts = model.expand(latents, method=method)
    assert list(map(len, texts)) and len(texts) == 2
