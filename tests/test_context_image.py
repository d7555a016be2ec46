"""Contexts of pictures: a vision tower reads windows that are drawn. Run: pytest tests/test_context_image.py"""

import json
import math

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from c3 import C3Config, C3Latents, C3Model, LatentMismatchError
from c3.cli.main import main
from c3.context_picture_c3 import ContextPicture
from c3.text_rendering_c3 import TextRenderer
from c3.training.run.dry_run import dry_run
from c3.training.run.stages import train
from image_models import SIZES, TOWERS, config_of, model_of
from tiny_models import LONG, TEXTS, history, tiny_backbone

PAGES = [LONG, *TEXTS, "👍🔥" * 3]


@pytest.fixture(scope="module", params=TOWERS)
def model(request, tokenizer):
    return model_of(tokenizer, request.param, projector="tanh")


def test_latents_are_those_of_two_by_two_patches(model):
    """By hand, each window alone: the tower's own states, side by side, and the projector."""
    latents = model.compress(LONG, ratio=4, dtype="float32")
    windows, counts = model.processor.plan(LONG, ratio=4)
    assert set(counts) > {8} and latents.num_latents == sum(counts)
    renderer = TextRenderer(ContextPicture(latents_across=3))
    for values, window, n in zip(latents.windows(), windows, counts, strict=True):
        pixels = torch.tensor(renderer.draw(window.context, n)) / 127.5 - 1
        rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
        if "2" in model.encoder.config.model_type:
            patches = pixels.unfold(0, 16, 16).unfold(1, 16, 16).reshape(1, rows * columns, 256, 1)
            shape = torch.tensor([[rows, columns]])
            given = {"pixel_attention_mask": torch.ones(patches.shape[:2]), "spatial_shapes": shape}
            given["pixel_values"] = patches.expand(-1, -1, -1, 3).flatten(2)
        else:
            given = {"pixel_values": pixels.expand(1, 3, -1, -1), "interpolate_pos_encoding": True}
        with torch.no_grad():
            states = model.encoder(**given).last_hidden_state[0].view(rows, columns, -1)
            merged = [states[r : r + 2, c : c + 2].flatten() for r in range(0, rows, 2) for c in range(0, columns, 2)]
            expected = model.projector.linear_1(torch.stack(merged[:n])).tanh()
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-4)


def test_to_a_grey_tower_white_is_nothing(tokenizer):
    """Whatever its weights are, what a white patch becomes is the bias alone; to one of three channels it is not."""
    for channels in (1, 3):
        model = model_of(tokenizer, tower_options={"num_channels": channels})
        pixels = torch.full((1, 32, 32), 255, dtype=torch.uint8)
        embedding, seen = model.encoder.embeddings.patch_embedding, []
        with embedding.register_forward_hook(lambda module, given, made, seen=seen: seen.append(made)):
            model.encode_context(context_pixel_values=pixels, context_num_latents=torch.tensor([1]))
        is_bias = torch.allclose(seen[0], embedding.bias[:, None, None].expand_as(seen[0][0]))
        assert is_bias is (channels == 1)


def test_compress_expand_and_generate(model, tmp_path):
    latents = model.compress(PAGES, dtype="float32")
    for batch_size in (1, 100):
        torch.testing.assert_close(model.compress(PAGES, batch_size=batch_size, dtype="float32").values, latents.values)
    texts = model.expand(latents)
    assert texts == [model.expand(each) for each in latents] and texts != PAGES
    assert len(model.generate(latents, "Go on: ", max_new_tokens=2)) == len(PAGES)
    assert isinstance(model.chat(TEXTS[0], "Go on: ", max_new_tokens=2), str)
    exact = model.compress(PAGES, exact=True, output=tmp_path / "exact.c3")
    assert model.expand(C3Latents.load(tmp_path / "exact.c3")) == PAGES and exact.num_latents == latents.num_latents
    # What came back is drawn as the text was.
    assert len(model.expand(latents, check=True)) == len(PAGES)
    assert model(**model.processor(PAGES)).loss.isfinite()


def test_saved_and_loaded(model, tokenizer, tmp_path, capsys):
    """With the settings of its pictures; latents say whose they are. As remote code: tests/test_hub.py."""
    model.save_pretrained(tmp_path)
    latents = model.compress(LONG, output=tmp_path / "page.c3")
    loaded = C3Model.from_pretrained(tmp_path)
    assert loaded.config.context_picture == loaded.processor.context_picture == model.config.context_picture
    assert torch.equal(loaded.compress(LONG).values, latents.values)
    loaded.check_latents(latents)
    assert not [name for name in loaded.state_dict() if "head" in name and "encoder" in name]
    capsys.readouterr()  # other packages, such as DeepSpeed, may print when they are loaded
    assert main(["info", str(tmp_path / "page.c3"), "--json"]) in (0, None)
    facts = json.loads(capsys.readouterr().out)
    assert facts["provenance"]["config_fingerprint"] == latents.provenance.config_fingerprint
    # Another size of letters is another kind of latents, whatever the weights.
    config = C3Config.from_pretrained(tmp_path, context_picture={"cell": [5, 9]})
    other = C3Model.from_pretrained(tmp_path, config=config)
    with pytest.raises(LatentMismatchError, match="config_fingerprint"):
        other.check_latents(latents)


def test_a_ratio_is_answered_by_a_picture_of_its_size_or_refused(tokenizer):
    model = model_of(tokenizer, window=64)
    text = LONG * 3
    for ratio in (1, 2, 4, 8):
        latents = model.compress(text, ratio=ratio)
        assert latents.num_latents == latents.text_tokens // ratio
    refused = "ÿ" * 120
    with pytest.raises(ValueError, match="do not show all of its characters apart: ask for a ratio of") as error:
        model.compress(refused, ratio=60)
    told = float(str(error.value).split("ratio of ")[1].split(" ")[0])
    assert 1 < told < 60 and model.compress(refused, ratio=told).ratio >= told
    found, skipped = model.compress([TEXTS[0], refused], ratio=60, on_error="skip")
    assert len(found) == 1 and list(skipped) == [1]
    with pytest.raises(ValueError, match="apart: take a model with larger patches, or with a font"):
        model_of(tokenizer, tower_options={"patch_size": 1}).compress(refused, ratio=2)
    # As VIST2's: 1024 tokens in the 256 latents of 512 x 512 pixels.
    picture = C3Config(
        encoder_config=TOWERS["siglip_vision_model"] | {"image_size": 512}, context_modality="image", pooling="patches"
    ).context_picture
    assert ContextPicture.of(picture).size(1024 // 4) == (512, 512)


def test_pictures_of_several_sizes_where_processes_share_the_weights(model, monkeypatch):
    """Each size is a pass: processes would wait for each other without end."""
    monkeypatch.setattr("c3.context_image_c3.is_sharded", lambda model: True)
    batches = [model.processor.context_inputs(["a", "b"], counts) for counts in ([2, 2], [2, 3])]
    assert len(model.encode_context(**batches[0])) == 4
    with pytest.raises(ValueError, match="several sizes in a batch take several passes"):
        model.encode_context(**batches[1])


def test_what_a_config_may_say(tokenizer):
    for field, said in (
        ({"pooling": "queries"}, "needs pooling patches"),
        ({"context_picture": {"size": 3}}, "must be a mapping of some of 'font'"),
        ({"context_picture": {"cell": 3}}, "cell must be a width and a height"),
        ({"context_picture": {"font": 3}}, "font must be a file's name"),
        ({"context_picture": {"font_size": 0}}, "font_size must be an integer of 1 or more"),
        ({"context_picture": {"latent_pixels": 16}}, "latent_pixels must be 32, 2 patches"),
    ):
        with pytest.raises(ValueError, match=said):
            config_of(tokenizer, **field)
    text = {"encoder_config": tiny_backbone("qwen3", 300), "decoder_config": tiny_backbone("qwen3", 300)}
    with pytest.raises(ValueError, match="needs an encoder_config of siglip_vision_model or siglip2"):
        C3Config(**text, context_modality="image", pooling="patches")
    with pytest.raises(ValueError, match="needs pooling patches, which no other"):
        C3Config(**text, pooling="patches")
    with pytest.raises(ValueError, match="context_picture is for context_modality image"):
        C3Config(**text, context_picture={"font_size": 9})
    with pytest.raises(ValueError, match="no font file nowhere.ttf"):
        model_of(tokenizer, context_picture={"font": "nowhere.ttf"}).compress("a text")
    model, batch = model_of(tokenizer), model_of(tokenizer).processor.context_inputs(["a"], [2])
    with pytest.raises(ValueError, match=r"must be pictures of shape \(1, 32, 96\)"):
        model.encode_context(**batch | {"context_num_latents": torch.tensor([3])})


def test_from_a_siglip_and_a_language_model(tokenizer, tmp_path):
    """Of a whole SigLIP the vision tower is taken, with its weights."""
    vision = TOWERS["siglip_vision_model"]
    config = AutoConfig.for_model("siglip", vision_config=vision, text_config={**SIZES, "vocab_size": 300})
    whole = AutoModel.from_config(config)
    whole.save_pretrained(tmp_path / "siglip")
    AutoModelForCausalLM.from_config(tiny_backbone("qwen3", len(tokenizer))).save_pretrained(tmp_path / "decoder")
    tokenizer.save_pretrained(tmp_path / "decoder")
    fields = {"context_modality": "image", "pooling": "patches", "latent_position_layout": "uniform", "window": 32}
    parts = tmp_path / "siglip", tmp_path / "decoder"
    model = C3Model.from_encoder_decoder_pretrained(*parts, num_latents=8, projector="mlp", **fields)
    weights = whole.vision_model.state_dict()
    assert all(torch.equal(each, weights[name]) for name, each in model.encoder.state_dict().items())
    assert model.compress(LONG, ratio=4).num_latents == len(tokenizer(LONG)["input_ids"]) // 4


@pytest.mark.parametrize("start", ["scratch", "init_from", "init_from_pair"])
def test_training(start, tokenizer, training_folder, load_training, tmp_path):
    """From nothing, from a model that was saved, and from a vision tower and a language model."""
    fields = {"context_modality": "image", "pooling": "patches", "tie_word_embeddings": False}
    recipe = yaml.safe_load((training_folder / "recipe.yaml").read_text())
    overrides = ["random_windows=0.25"]
    if start == "scratch":
        recipe["model"] |= fields | {"encoder_config": TOWERS["siglip2_vision_model"]}
        overrides.append(f"model={json.dumps(recipe['model'])}")
    elif start == "init_from":
        model_of(tokenizer).save_pretrained(tmp_path / "model")
        overrides += [f"init_from={tmp_path / 'model'}", "model={}", "tokenizer=null"]
    else:
        AutoModel.from_config(AutoConfig.for_model(**TOWERS["siglip_vision_model"])).save_pretrained(tmp_path / "tower")
        AutoModelForCausalLM.from_config(tiny_backbone("qwen3", len(tokenizer))).save_pretrained(tmp_path / "decoder")
        tokenizer.save_pretrained(tmp_path / "decoder")
        pair = fields | {name: recipe["model"][name] for name in ("window", "num_latents", "latent_position_layout")}
        pair |= {"encoder": str(tmp_path / "tower"), "decoder": str(tmp_path / "decoder"), "use_mask_embedding": True}
        overrides += [f"init_from_pair={json.dumps(pair)}", "model={}", "tokenizer=null"]
    training = recipe["training"] | {"max_steps": 3, "warmup_steps": 0, "eval_strategy": "no", "save_strategy": "no"}
    overrides += [f"training={json.dumps(training)}", "optimizer={name: adamw, lr: 0.01}"]
    loaded = load_training(f"pictures-{start}", *overrides)
    if start == "init_from_pair":
        assert "context_pixel_values (" in dry_run(loaded)
        return
    folder = train(loaded)
    losses = list(history(folder).values())
    assert len(losses) == 3 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    assert C3Model.from_pretrained(folder).config.context_modality == "image"
