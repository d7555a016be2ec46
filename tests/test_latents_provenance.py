"""What latents say of themselves: the model that made them, and whether one text was given by itself."""

from dataclasses import replace

import numpy
import pytest
import torch

from c3 import latents_storage_c3
from c3.latents_c3 import C3Latents, LatentMismatchError, LatentProvenance
from latent_examples import PROVENANCE, make_parts


def test_default_provenance_is_unknown():
    assert C3Latents(**make_parts()).provenance == LatentProvenance()
    assert set(vars(LatentProvenance()).values()) == {""}
    with pytest.raises(TypeError, match=r"provenance.dtype must be a str, got dtype: torch.bfloat16"):
        LatentProvenance(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="provenance.model_name has 5000 characters, more than 4096"):
        LatentProvenance(model_name="m" * 5000)


def test_the_same_model(latents):
    known = replace(PROVENANCE, model_name="any/name")
    latents.provenance.check_same_model(known)
    latents.provenance.check_same_model(replace(known, tokenizer_fingerprint=""))
    latents.provenance.check_same_model(LatentProvenance(model_name="unknown"))
    other = LatentProvenance("org/b", config_fingerprint="aa", weights_fingerprint="bb", tokenizer_fingerprint="cc")
    C3Latents(**make_parts()).provenance.check_same_model(other)


@pytest.mark.parametrize("name", ["config", "weights", "tokenizer"])
def test_another_model_is_named_beside_the_maker(latents, name):
    made = getattr(PROVENANCE, f"{name}_fingerprint")
    other = replace(PROVENANCE, model_name="org/other", **{f"{name}_fingerprint": "badbadbadbadbad0"})
    with pytest.raises(LatentMismatchError) as caught:
        latents.provenance.check_same_model(other)
    message = str(caught.value)
    assert "made by 'org/c3' (" in message and "the model is 'org/other' (" in message
    assert made in message and "badbadbadbadbad0" in message
    assert f": {name}_fingerprint differ(s)" in message and "allow_mismatch=True overrides this check" in message
    assert isinstance(caught.value, ValueError)


def test_cat_keeps_what_all_parts_agree_on(latents):
    other = replace(latents, provenance=replace(PROVENANCE, library_version="0.2.0", weights_fingerprint=""))
    joined = C3Latents.cat([latents, other]).provenance
    assert joined == replace(PROVENANCE, library_version="", weights_fingerprint="")


def test_cat_of_different_models(latents):
    unknown = replace(latents, provenance=LatentProvenance())
    other = replace(latents, provenance=replace(PROVENANCE, model_name="org/b", weights_fingerprint="0123"))
    message = r"weights_fingerprint differs between 'org/c3' \(.*beef000011112222.* and 'org/b' \(.*0123"
    with pytest.raises(LatentMismatchError, match=message):
        C3Latents.cat([unknown, latents, unknown, other])


def test_one_text_by_itself_is_remembered(latents, latents_path):
    """Picked by its number, however it is moved, saved and loaded; what is picked by a list is a list."""
    for index, single in ((1, True), (-1, True), (numpy.int64(0), True), ([1], False), (slice(0, 1), False)):
        picked = latents[index]
        assert picked.single == single and len(picked) == 1
        picked.save(latents_path)
        assert C3Latents.load(latents_path).single == C3Latents.from_bytes(picked.to_bytes()).single == single
        assert picked.half().single == single
    assert not latents.single and [each.single for each in latents] == [True] * 3
    assert not C3Latents.cat([latents[0]]).single and not (latents[0] + latents[1]).single
    with pytest.raises(ValueError, match="single is for one text, but window_counts describes 3"):
        replace(latents, single=True, check_finite=True)


def test_older_files_of_one_text_count_as_a_single_one(latents, latents_path, monkeypatch):
    for index, single in ((1, True), (slice(0, 2), False)):
        monkeypatch.setattr(latents_storage_c3, "to_metadata", lambda provenance, single: vars(provenance))
        latents[index].save(latents_path)
        assert C3Latents.load(latents_path).single == single
