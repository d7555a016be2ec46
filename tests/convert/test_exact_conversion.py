"""Conversions change no bit, and what comes out computes the same; other sizes, untied, rope theta 1e6."""

import json
import weakref

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from authors_layout_models import TOLERANCE, edit_json, equal, random_model, tensors
from authors_release import run_as_the_authors
from c3.convert.from_authors import convert_from_authors
from c3.convert.tensor_files import StoredTensor, list_tensors
from c3.convert.to_authors import convert_to_authors


@pytest.mark.parametrize("length", [1, 40])
def test_equals_plain_qwen2_models(length, theirs, model):
    text_ids = torch.randint(300, (length,), generator=torch.manual_seed(1)).tolist()
    latents, _, greedy, context_ids, input_ids = run_as_the_authors(theirs, text_ids, [7], [3], steps=12)
    inputs = {"input_ids": torch.tensor([input_ids]), "context_input_ids": torch.tensor([context_ids])}
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).latents, latents, atol=TOLERANCE, rtol=0)
    for use_cache in (True, False):
        new = model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=use_cache, eos_token_id=None)
        assert new[0].tolist() == greedy
    assert len(set(greedy)) > 3


def test_settings_of_the_backbones(theirs, model):
    for part, backbone in (("", model.config.decoder_config), ("llm1", model.config.encoder_config)):
        settings = json.loads((theirs / part / "config.json").read_text())
        assert backbone.rope_parameters["rope_theta"] == settings["rope_theta"] == 1e6
        assert settings["vocab_size"] == backbone.vocab_size
    assert model.decoder.lm_head.weight is not model.decoder.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [True, False])
def test_there_and_back_bit_for_bit(dtype, tied, ranks, tmp_path):
    backbone = {"tie_word_embeddings": tied}
    model = random_model(len(ranks), encoder=backbone, decoder=backbone).to(dtype)
    model.save_pretrained(tmp_path / "ours")
    convert_to_authors(tmp_path / "ours", tmp_path / "theirs", max_shard_bytes=30_000)
    assert (tmp_path / "theirs/model.safetensors.index.json").is_file()
    assert ("lm_head.weight" in tensors(tmp_path / "theirs")) != tied
    convert_from_authors(tmp_path / "theirs", tmp_path / "back")
    assert (tmp_path / "back/model.safetensors").is_file()
    assert equal(tensors(tmp_path / "ours"), tensors(tmp_path / "back"))
    assert AutoModel.from_pretrained(tmp_path / "back", dtype="auto").dtype == dtype
    convert_to_authors(tmp_path / "back", tmp_path / "theirs_again")
    for part in ("", "llm1"):
        left, right = tmp_path / "theirs" / part, tmp_path / "theirs_again" / part
        assert equal(tensors(left), tensors(right))
        assert (left / "config.json").read_text() == (right / "config.json").read_text()


def test_heads_that_are_not_needed(theirs, copy_of, tmp_path):
    """The encoder's is left out whatever it holds, the decoder's only as a copy of its tied embeddings."""
    source = copy_of(theirs)
    for part in ("", "llm1"):
        weights = tensors(source / part)
        for file in (source / part).glob("model*.safetensors*"):
            file.unlink()
        head = weights["model.embed_tokens.weight"].clone()
        save_file(weights | {"lm_head.weight": head + 1 if part else head}, source / part / "model.safetensors")
    edit_json(source / "config.json", tie_word_embeddings=True)
    lines = convert_from_authors(source, tmp_path / "out")
    assert [line.split(",")[0] for line in lines[1:]] == [
        "Left out: llm1's lm_head.weight",
        "Left out: lm_head.weight",
    ]
    assert not [name for name in tensors(tmp_path / "out") if "lm_head" in name]
    weights = tensors(source)
    save_file(weights | {"lm_head.weight": weights["lm_head.weight"] + 1}, source / "model.safetensors")
    with pytest.raises(ValueError, match="lm_head.weight differs"):
        convert_from_authors(source, tmp_path / "other")


@pytest.mark.parametrize("limit", [10_000, 60_000])
def test_memory_holds_one_shard(limit, theirs, tmp_path, monkeypatch):
    live, peak, total = 0, 0, 0
    read = StoredTensor.read

    def release(nbytes):
        nonlocal live
        live -= nbytes

    def counted(self):
        nonlocal live, peak, total
        tensor = read(self)
        live, total = live + self.nbytes, total + self.nbytes
        peak = max(peak, live)
        weakref.finalize(tensor, release, self.nbytes)
        return tensor

    monkeypatch.setattr(StoredTensor, "read", counted)
    convert_from_authors(theirs, tmp_path / "out", max_shard_bytes=limit)
    largest = max(tensor.nbytes for tensor in list_tensors(tmp_path / "out").values())
    assert total == sum(tensor.nbytes for tensor in list_tensors(tmp_path / "out").values())
    assert peak <= max(limit, largest) < total
