"""Positions of a decoder, and what is left of them for an answer. Run: pytest tests/test_position_limits.py"""

import math

import pytest
from transformers import AutoConfig, GenerationConfig

from c3.position_limits_c3 import most_positions, room_for_answers
from tiny_models import LONG


@pytest.mark.parametrize(
    "model_type,fields,most",
    [
        ("qwen3", {"max_position_embeddings": 512}, 512),
        ("qwen2", {"max_position_embeddings": 512, "rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 2048),
        (
            "qwen2",
            {
                "max_position_embeddings": 2048,
                "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512},
            },
            2048,
        ),
        ("gpt2", {"n_positions": 128}, 128),
        ("bloom", {}, math.inf),
    ],
)
def test_most_positions(model_type, fields, most):
    assert most_positions(AutoConfig.for_model(model_type, **fields)) == most


def test_room_counts_where_the_row_ends(make_model):
    """Behind the latents, or, as older checkpoints have learned it, behind the text that they stand for."""
    for layout, prompt_positions in (
        ("appended", "consecutive"),
        ("uniform", "consecutive"),
        ("uniform", "among_text"),
    ):
        model = make_model(layout, prompt_positions=prompt_positions)
        latents = model.compress(LONG)
        before = latents.text_tokens if prompt_positions == "among_text" else latents.num_latents
        rows = [model.processor.row(spans, "Go on: ") for spans in (latents.spans[0][:1], latents.spans[0])]
        assert latents.text_tokens > latents.num_latents
        assert room_for_answers(model.config, rows) == 512 - before - len(model.processor.encode("Go on: "))


@pytest.fixture
def narrow(make_model):
    """A model whose decoder was made for as many positions as the latents, the prompt and five tokens take."""
    model = make_model("uniform")
    plan = model.processor.plan(LONG)
    taken = sum(plan.num_latents) + len(model.processor.encode("Go on: "))
    assert taken + 5 < len(plan.windows.ids)
    model.config.decoder_config.max_position_embeddings = taken + 5
    return model, model.compress(LONG, exact=True)


def test_answers_end_where_positions_do(narrow):
    model, latents = narrow
    endless = {"return_dict_in_generate": True, "eos_token_id": [], "do_sample": False}
    assert model.generate(latents, "Go on: ", **endless).sequences.shape[1] == 5
    assert model.chat(LONG, "Go on: ", **endless).sequences.shape[1] == 5
    assert model.generate(latents, "Go on: ", max_new_tokens=5, **endless).sequences.shape[1] == 5


def test_more_than_there_is_room_for(narrow, monkeypatch):
    """Said before anything is computed."""
    model, latents = narrow
    monkeypatch.setattr(type(model), "embed_prompt", None)
    monkeypatch.setattr(type(model), "encode_context", None)
    length = model.config.decoder_config.max_position_embeddings - 5
    for options in (
        {"max_new_tokens": 6},
        {"max_length": length + 6},
        {"generation_config": GenerationConfig(max_new_tokens=6)},
    ):
        for ask in (
            lambda options=options: model.generate(latents, "Go on: ", **options),
            lambda options=options: model.generate(latents, ["a", "Go on: "], **options),
            lambda options=options: model.chat(LONG, "Go on: ", **options),
        ):
            with pytest.raises(ValueError, match="has positions for 5 new tokens, not for 6: give a smaller"):
                ask()
    # Windows that are read as tokens take as many positions as these.
    with pytest.raises(ValueError, match=f"take .* positions, but the decoder was made for {length + 5}: compress at"):
        model.generate(latents, "Go on: ", raw_below=1.01)
