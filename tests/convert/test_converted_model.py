"""A converted model from text to text, its chat, its files."""

import json
import stat

import pytest
import torch
from transformers import AutoModel

from c3.convert.authors_tokenizer import SPECIAL_TOKENS
from c3.decoder_rows_c3 import LatentSpan
from tiny_models import TEXTS


def test_text_in_text_out(model, converted):
    assert model.generation_config.eos_token_id == model.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.config.window == 240 and not model.generation_config.do_sample
    text = TEXTS[0] * 7
    latents = model.compress(text, show_progress=False)
    assert latents.num_windows == -(-latents.text_tokens // 240) > 1
    assert latents.num_latents == 6 * latents.num_windows
    back = model.expand(latents, show_progress=False)
    assert back and not any(token in back for token in SPECIAL_TOKENS)
    assert isinstance(model.generate(latents, "Go on: ", max_new_tokens=5), str)
    remote = AutoModel.from_pretrained(converted, trust_remote_code=True)
    assert remote.expand(latents, show_progress=False) == back


@pytest.mark.parametrize("prompt", [None, "Say <|im_end|> it: "])
def test_chat(model, prompt):
    """The whole text at once, also above the window."""
    text = " ".join(TEXTS) * 3
    processor = model.processor
    ids = processor.encode(text)
    assert len(ids) > model.config.window
    inputs = {
        "input_ids": processor.decoder_inputs([processor.row([LatentSpan(6, 1)], prompt)])["input_ids"],
        "context_input_ids": processor.context_inputs([ids], [6])["context_input_ids"],
    }
    new = model.generate(**inputs, max_new_tokens=9, do_sample=False)
    assert model.chat(text, prompt, max_new_tokens=9) == processor.decode(new[0]).strip()
    assert model.chat(text, prompt, max_new_tokens=9, no_repeat_ngram_size=1) is not None


def test_chat_stops_at_the_end_of_the_turn(model, monkeypatch):
    seen = {}
    monkeypatch.setattr(model.config.decoder_config, "max_position_embeddings", 32768)  # theirs
    monkeypatch.setattr(
        "transformers.GenerationMixin.generate", lambda self, **kwargs: seen.update(kwargs) or torch.tensor([[1, 2]])
    )
    model.chat("a text")
    assert seen["max_new_tokens"] == 4096 and seen["do_sample"] is False
    assert "no_repeat_ngram_size" not in seen and "suppress_tokens" not in seen


def test_chat_of_the_uniform_layout_cuts_windows(make_model):
    uniform = make_model("uniform")
    latents = uniform.compress(TEXTS[0], show_progress=False)
    assert latents.num_windows > 1
    expected = uniform.generate(latents, "Go on: ", max_new_tokens=7).strip()
    assert uniform.chat(TEXTS[0], "Go on: ", max_new_tokens=7) == expected


def test_chat_refuses(model):
    with pytest.raises(ValueError, match="context is empty"):
        model.chat("")
    with pytest.raises(ValueError, match="context is .* tokens long.*room for 506"):
        model.chat("a b c " * 200)


def test_all_files_can_be_read_by_whoever_may_read_one(converted):
    assert len({stat.S_IMODE(each.stat().st_mode) for each in converted.iterdir() if each.is_file()}) == 1


def test_model_card_and_code(converted):
    card = (converted / "README.md").read_text()
    for words in ("Fanfan Liu", "Haibo Qiu", "2511.15244", "qwen-research", "6 latents", "license: other"):
        assert words in card
    assert {"modeling_c3.py", "configuration_c3.py", "processing_c3.py"} <= {each.name for each in converted.iterdir()}
    settings = json.loads((converted / "config.json").read_text())
    assert settings["auto_map"]["AutoModel"] == "modeling_c3.C3Model"
    assert settings["architectures"] == ["C3Model"] and settings["latent_position_layout"] == "appended"
