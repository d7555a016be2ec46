"""Several contexts that are read together, before a prompt in a string. Run: pytest tests/test_contexts_together.py"""

from dataclasses import replace

import pytest
import torch
from transformers import GenerationMixin

from c3 import C3Latents
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.window_decoding_c3 import prompt_embeds
from tiny_models import LONG, TEXTS

GREEDY = {"do_sample": False, "max_new_tokens": 6}
PROMPTS = ["Who?", "What is it about, and who was there? ", "b"]


@pytest.fixture(
    scope="module",
    params=[
        ("appended", {"prompt_template": "a {latents} b {prompt}"}),
        ("uniform", {}),
        ("uniform", {"prompt_positions": "among_text"}),
    ],
    ids=["appended", "uniform", "among_text"],
)
def any_model(request, make_model):
    layout, options = request.param
    return make_model(layout, **options)


def by_hand(model, segments, values, prompt):
    """The answer to a row that is put together here."""
    before, between, after = model.processor.prompt_template_ids()
    asked = [*between, *model.processor.encode(prompt), *after]
    row = [TextSegment(before), *segments, TextSegment(asked), TextSegment([])]
    output = GenerationMixin.generate(model, **prompt_embeds(model, [row], values), **GREEDY)
    return model.processor.decode(output[0])


def spans_of(latents):
    return list(map(LatentSpan, latents.latent_lengths.tolist(), latents.text_lengths.tolist()))


def test_latents_one_after_the_other(any_model, monkeypatch):
    """As in a row by hand: each context, all texts of one that holds several; questions share one reading."""
    contexts = [any_model.compress(LONG), any_model.compress(TEXTS[:2], num_latents=3)]
    values = torch.cat([each.values for each in contexts])
    expected = [by_hand(any_model, spans_of(C3Latents.cat(contexts)), values, prompt) for prompt in PROMPTS]
    assert len(set(expected)) == len(PROMPTS)
    assert [any_model.generate(contexts, prompt, **GREEDY) for prompt in PROMPTS] == expected
    assert any_model.generate(tuple(contexts), PROMPTS, batch_size=2, **GREEDY) == expected
    assert any_model.generate(contexts[::-1], PROMPTS, **GREEDY) != expected
    assert any_model.generate([contexts[0]], "Who?", **GREEDY) == any_model.generate(contexts[0], "Who?", **GREEDY)
    assert any_model.generate(contexts, ["Who?"], **GREEDY) == expected[:1]
    # What is read together is as long as a text of all its windows; as many prompts as texts are not one each.
    read, forward = [], any_model.decoder.forward

    def counting(*args, **kwargs):
        read.append(kwargs["inputs_embeds"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(any_model.decoder, "forward", counting)
    assert any_model.generate(contexts, PROMPTS, **GREEDY) == expected
    assert sum(length >= len(values) for length in read) == 1


def test_a_text_is_read_as_its_tokens(any_model):
    """Alone, or before and behind latents."""
    latents, ids = any_model.compress(LONG), any_model.processor.encode(TEXTS[0])
    none = latents.values[:0]
    expected = [by_hand(any_model, [TextSegment(ids)], none, prompt) for prompt in PROMPTS]
    assert any_model.generate([TEXTS[0]], PROMPTS, **GREEDY) == expected
    assert any_model.generate([TEXTS[0]], "Who?", **GREEDY) == expected[0]
    if any_model.processor.prompt_template == "{latents}{prompt}":
        plain = torch.tensor([ids + any_model.processor.encode("Who?")])
        output = any_model.decoder.generate(plain, attention_mask=torch.ones_like(plain), pad_token_id=0, **GREEDY)
        assert any_model.processor.decode(output[0, plain.shape[1] :]) == expected[0]
    segments = [TextSegment(ids), *spans_of(latents), TextSegment(ids)]
    expected = by_hand(any_model, segments, latents.values, "Who?")
    assert any_model.generate([TEXTS[0], latents, TEXTS[0]], "Who?", **GREEDY) == expected


def test_corrections_stay_each_contexts_own(uniform):
    """Windows that are read as their text are those of their own context."""
    contexts = [uniform.compress(each, exact=True) for each in (LONG, TEXTS[0])]
    raw = uniform.generate(contexts, "Who?", raw_below=1.01, **GREEDY)
    assert raw == by_hand(
        uniform,
        [TextSegment(uniform.processor.encode(each)) for each in (LONG, TEXTS[0])],
        contexts[0].values[:0],
        "Who?",
    )
    with pytest.raises(ValueError, match=r"make them with compress\(text, exact=True\)"):
        uniform.generate([contexts[0], uniform.compress(TEXTS[0])], "Who?", raw_below=0.9)


def test_calls_that_cannot_be(uniform, monkeypatch):
    latents = uniform.compress(LONG)
    foreign = replace(latents, provenance=replace(latents.provenance, weights_fingerprint="0" * 16))
    for contexts, prompt, error, said in (
        ([latents, latents], None, ValueError, "read to answer a prompt: give one, or expand each"),
        ([latents], uniform.config.reconstruction_prompt, ValueError, "read to answer a prompt: give one"),
        ([latents, 5], "Who?", TypeError, "must be C3Latents, as compress returns them, not int"),
        ([], "Who?", TypeError, "must be C3Latents, as compress returns them, not list"),
        ([latents[:0]], "Who?", ValueError, "None of these contexts holds a text"),
        ([latents, ""], "Who?", ValueError, "text is empty"),
        ([latents, foreign], "Who?", ValueError, "these latents were made by"),
        ([latents] * 40, "Who?", ValueError, "take .* positions, but the decoder was made for 512"),
        ([latents, LONG], ["Who?", 5], TypeError, "must be a string or chat messages"),
    ):
        with monkeypatch.context() as patch, pytest.raises(error, match=said):
            patch.setattr(type(uniform), "embed_prompt", None)
            uniform.generate(contexts, prompt)
    assert uniform.generate([latents, foreign], "Who?", allow_mismatch=True, **GREEDY)
    monkeypatch.setattr(uniform.config, "reconstruction_only", True)
    with pytest.raises(ValueError, match="cannot answer 'Who.': it was trained to give texts back"):
        uniform.generate([LONG], "Who?")
