"""A model as a checkpoint: its processor, and what tells its latents from those of other models."""

import pytest
import torch

from c3 import C3Latents, C3Model
from c3.checkpoint_c3 import rounded
from c3.fingerprints_c3 import fingerprint_tensors
from c3.latents_provenance_c3 import LatentMismatchError
from tiny_models import TEXTS


def test_same_after_save_and_load(model, tmp_path):
    model.save_pretrained(tmp_path)
    latents = model.compress(TEXTS)
    latents.save(tmp_path / "latents.c3")
    loaded = C3Model.from_pretrained(tmp_path)
    assert torch.equal(loaded.compress(TEXTS).values, latents.values)
    assert loaded.expand(C3Latents.load(tmp_path / "latents.c3")) == model.expand(latents)


def test_processor_is_loaded_from_the_models_folder(make_model, tmp_path):
    model = make_model("uniform")
    C3Model(model.config).save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="No processor could be loaded from"):
        C3Model.from_pretrained(tmp_path / "bare").compress("text")
    model.save_pretrained(tmp_path / "whole")
    assert len(C3Model.from_pretrained(tmp_path / "whole").compress("text")) == 1


def test_processor_must_fit(make_model):
    with pytest.raises(ValueError, match="latent_position_layout is 'appended' but the model's is 'uniform'"):
        make_model("uniform").processor = make_model("appended").processor


def test_latents_of_another_model(make_model):
    one, other = make_model("uniform", seed=0), make_model("uniform", seed=1)
    latents = one.compress("text")
    with pytest.raises(LatentMismatchError, match="weights_fingerprint differ.*allow_mismatch=True"):
        other.expand(latents)
    with pytest.raises(LatentMismatchError):
        other.generate(latents, "x")
    assert isinstance(other.expand(latents, allow_mismatch=True), str)
    with pytest.raises(LatentMismatchError, match="config_fingerprint"):
        make_model("appended", seed=0).expand(latents)


def test_width_and_type_of_latents(make_model):
    with pytest.raises(ValueError, match="are 32 wide, but this model's decoder reads 48"):
        make_model("uniform", decoder_width=48).expand(make_model("uniform").compress("text"))
    with pytest.raises(TypeError, match="must be C3Latents, as compress returns them, not list"):
        make_model("uniform").expand([1, 2])


def test_fingerprint_follows_the_weights_and_not_the_dtype(make_model, tmp_path):
    model = make_model("uniform").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    before = model.latent_provenance()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        loaded = C3Model.from_pretrained(tmp_path, dtype=dtype).latent_provenance()
        assert loaded.weights_fingerprint == before.weights_fingerprint, dtype
        assert loaded.config_fingerprint == before.config_fingerprint
    with torch.no_grad():
        model.projector.linear_1.weight.mul_(1.5)
    assert model.latent_provenance().weights_fingerprint != before.weights_fingerprint


def averaged(weight):
    weight.data = (weight.data + weight.data.roll(1, 0)) / 2


def in_a_row(weight):
    weight.data[3] += 1


def exchanged(weight):
    weight.data[[0, 1]] = weight.data[[1, 0]]


def as_numpy(weight):
    weight.detach().numpy()[2, 5] = 7


def under_inference_mode(weight):
    with torch.inference_mode():
        weight.data.neg_()


def with_a_fused_optimizer(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=1.0, fused=True).step()


def with_other_storage(weight):
    with torch.no_grad():
        weight.set_(torch.randn_like(weight))


def exchanged_for_another(weight):
    torch.utils.swap_tensors(weight, torch.nn.Parameter(torch.randn_like(weight)))


@pytest.mark.parametrize(
    "change",
    [
        averaged,
        in_a_row,
        exchanged,
        as_numpy,
        under_inference_mode,
        with_a_fused_optimizer,
        with_other_storage,
        exchanged_for_another,
    ],
)
def test_fingerprint_follows_weights_however_they_are_written_to(change, make_model):
    """Averaging writes to `weight.data`, which torch counts no version of."""
    model = make_model()
    latents = model.compress("text")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    change(model.encoder.layers[0].mlp.up_proj.weight)
    anew = fingerprint_tensors(dict(model.named_parameters()), rounded)
    assert model.latent_provenance().weights_fingerprint == anew != latents.provenance.weights_fingerprint
    with pytest.raises(LatentMismatchError, match="weights_fingerprint differ"):
        model.expand(latents)
    model.load_state_dict(before, assign=True)
    assert model.latent_provenance() == latents.provenance


def test_provenance_follows_the_config(make_model):
    model = make_model()
    before = model.latent_provenance()
    model.config.prompt_template = "{latents}again: {prompt}"
    assert model.latent_provenance().config_fingerprint != before.config_fingerprint


def test_provenance_names_the_folder_and_not_its_path(make_model, tmp_path, monkeypatch):
    """Also of a relative one that is elsewhere now, of one that is gone, and of what was assigned."""
    (tmp_path / "private").mkdir()
    make_model("uniform").save_pretrained(tmp_path / "private" / "my-c3")
    monkeypatch.chdir(tmp_path)
    for source in (tmp_path / "private" / "my-c3", "private/my-c3", "./private/my-c3/"):
        model = C3Model.from_pretrained(source)
        provenance = model.compress("text").provenance
        assert provenance.model_name == "my-c3" and str(tmp_path) not in repr(provenance)
    model.name_or_path = str(tmp_path / "private" / "my-c3")
    monkeypatch.chdir("/")
    (tmp_path / "private" / "my-c3").rename(tmp_path / "moved")
    assert model.latent_provenance() == provenance
    model.name_or_path = "./private/my-c3/"
    assert model.latent_provenance() == provenance
    assigned = {"org/my-c3": "org/my-c3", "my-c3": "my-c3", "~/a/b": "b", r"C:\Users\me\c3": "c3", "a/b/c": "c", "": ""}
    for name, public in assigned.items():
        model.name_or_path = name
        assert model.latent_provenance().model_name == public
