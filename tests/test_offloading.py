"""Weights that are on disk or on the CPU, and come to where they are used only for that: the same results."""

import accelerate
import pytest
import torch

from c3 import C3Model

TEXTS = ["the best of", "times"]
PARTS = ("encoder", "decoder", "context_queries", "projector", "mask_embedding")
OUTPUTS = ("decoder.model.layers.1", "decoder.model.norm", "decoder.lm_head", "projector")


def half_of_the_memory(folder, **options):
    """Part of the decoder on disk."""
    largest = sum(each.numel() * 4 for each in C3Model.from_pretrained(folder).parameters())
    return C3Model.from_pretrained(folder, device_map="auto", max_memory={"cpu": int(largest * 0.7)}, **options)


def dispatched(folder, offload_folder):
    model = C3Model.from_pretrained(folder)
    names = [f"decoder.model.{each}" for each in ("embed_tokens", "layers.0", "rotary_emb")]
    device_map = dict.fromkeys([*PARTS[:1], *PARTS[2:], *names], "cpu") | dict.fromkeys(OUTPUTS, "disk")
    return accelerate.dispatch_model(model, device_map, "cpu", offload_dir=offload_folder, force_hooks=True)


OFFLOADED = {
    "all on disk": lambda folder, **options: C3Model.from_pretrained(folder, device_map={"": "disk"}, **options),
    "auto": half_of_the_memory,
    "cpu_offload": lambda folder, offload_folder: accelerate.cpu_offload(C3Model.from_pretrained(folder), "cpu"),
    "disk_offload": lambda folder, offload_folder: accelerate.disk_offload(
        C3Model.from_pretrained(folder), offload_folder, "cpu"
    ),
    "dispatch_model": dispatched,
}


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def saved(request, make_model, tmp_path_factory):
    """A folder of a model, and what it gives."""
    model = make_model(tie_word_embeddings=request.param, decoder_options={"tie_word_embeddings": request.param})
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    return folder, results(model)


def results(model):
    latents = model.compress(TEXTS)
    texts = [model.expand(latents, method=method) for method in ("greedy", "parallel")]
    texts += [model.generate(latents, "x", max_new_tokens=3), model.chat(TEXTS[0], max_new_tokens=3)]
    return latents, texts


@pytest.mark.parametrize("offloaded", OFFLOADED)
def test_results_and_provenance_are_the_same(offloaded, saved, tmp_path):
    folder, (expected, texts) = saved
    model = OFFLOADED[offloaded](folder, offload_folder=tmp_path)
    assert any(each.is_meta for each in model.parameters())
    latents, found = results(model)
    torch.testing.assert_close(latents.values, expected.values)
    ours, theirs = vars(latents.provenance) | {"model_name": ""}, vars(expected.provenance) | {"model_name": ""}
    assert ours == theirs and found == texts


@pytest.mark.parametrize("on_disk", [PARTS[:1], PARTS[1:]], ids=["encoder", "the rest"])
def test_parts_that_share_their_embeddings_are_offloaded_together(on_disk, saved, tmp_path):
    folder, (expected, _) = saved
    device_map = dict.fromkeys(PARTS, "cpu") | dict.fromkeys(on_disk, "disk")

    def load():
        return C3Model.from_pretrained(folder, device_map=device_map, offload_folder=tmp_path)

    if C3Model.from_pretrained(folder).config.tie_word_embeddings:
        with pytest.raises(ValueError, match="offloads only one of the modules that share a weight: give encoder.em"):
            load()
    else:
        torch.testing.assert_close(load().compress(TEXTS).values, expected.values)


def test_a_pair_of_offloaded_models(saved, tmp_path):
    folder = saved[0]
    model = C3Model.from_pretrained(folder)
    for part in PARTS[:2]:
        getattr(model, part).save_pretrained(tmp_path / part)
    pair = [str(tmp_path / part) for part in PARTS[:2]]
    found = []
    for options in ({}, {"device_map": {"": "disk"}, "offload_folder": str(tmp_path / "offloaded")}):
        torch.manual_seed(0)
        made = C3Model.from_encoder_decoder_pretrained(*pair, num_latents=8, window=32, **options)
        made.processor = model.processor.from_config(made.config, model.processor.tokenizer)
        found.append(made.compress(TEXTS[0]).values)
    torch.testing.assert_close(*found)
