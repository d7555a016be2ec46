"""
An adapter on one checkpoint that has another config than that: another template, other prompts. What it holds, and
every way to load and to ask it. Run: pytest tests/training/test_adapter_configs.py
"""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor

from c3 import C3Latents, C3Model, LatentMismatchError
from c3.base_models_c3 import _place
from c3.cli.main import main
from c3.training.optim.lora import save_base
from c3.training.run.stages import train
from tiny_models import TEXTS

CHANGED = {"prompt_template": "{latents}{prompt}\n", "ratio_range": [2, 8]}
GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def base(make_model, tmp_path_factory):
    """A checkpoint that only gives texts back."""
    folder = tmp_path_factory.mktemp("base")
    make_model(reconstruction_only=True, ratio_range=[4, 16], tie_word_embeddings=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base, load_training, training_folder):
    """The folder of an adapter that was trained on questions, for `CHANGED`."""
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]
    rows = [{"context": text, "messages": messages} for text in TEXTS[:2] * 40]
    (training_folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = load_training(
        "adapter-config",
        f"init_from={base}",
        "model={}",
        "tokenizer=null",
        f"init_config={json.dumps(CHANGED)}",
        "lora={r: 2, parts: [decoder], train_queries: false}",
        f"instruction_data={training_folder / 'rows.jsonl'}",
        "objectives={reconstruction: 1, instruction: 1}",
        "optimizer={name: adamw, lr: 0.01}",
        "training.max_steps=2",
    )
    return train(recipe)


@pytest.fixture
def adapter(trained, tmp_path):
    """A copy of it, elsewhere."""
    return shutil.copytree(trained, tmp_path / "adapter")


def logits(model):
    """Of answers to a question about two texts."""
    processor = model.processor
    plans = [processor.plan(text, ratio=4) for text in TEXTS[:2]]
    contexts = [window.context for plan in plans for window in plan.windows]
    batch = processor.context_inputs(contexts, [n for plan in plans for n in plan.num_latents])
    batch.update(processor.decoder_inputs([processor.row(plan.spans, "Who?", target=[7]) for plan in plans]))
    with torch.no_grad():
        return model(**batch).logits


def test_what_it_holds_and_every_way_to_load_it(adapter, trained, base):
    config = json.loads((adapter / "config.json").read_text())
    assert config["base_models"] == {"model": str(base)} and not config["reconstruction_only"]
    assert {name: config[name] for name in CHANGED} == CHANGED
    assert not (adapter / "model.safetensors").exists()
    held = load_file(adapter / "adapter_model.safetensors")
    assert not [name for name in held if "embed_tokens" in name]
    # Also of a checkpoint of the run, which is an adapter alone, on the run's base.
    sources = adapter, trained.parent / "checkpoint-2"
    models = [each.from_pretrained(source) for source in sources for each in (C3Model, AutoModel)]
    models.append(PeftModel.from_pretrained(C3Model.from_pretrained(trained.parent / "base"), adapter).get_base_model())
    for model in models:
        assert {name: getattr(model.config, name) for name in CHANGED} == CHANGED
        assert {name: getattr(model.processor, name) for name in CHANGED} == CHANGED
        assert not model.config.reconstruction_only
        assert torch.equal(logits(model), logits(models[0]))
    assert AutoProcessor.from_pretrained(adapter).prompt_template == CHANGED["prompt_template"]
    # One that a run with other settings has left is not taken for this one's.
    with pytest.raises(ValueError, match="base has another ratio_range: choose another output folder, or delete it"):
        save_base(C3Model.from_pretrained(base), trained.parent / "base", {"model": str(base)})
    # The base alone knows of none of it.
    plain = PeftModel.from_pretrained(C3Model.from_pretrained(base), adapter)
    assert plain.config.reconstruction_only and plain.processor.prompt_template == "{latents}{prompt}"
    assert not torch.equal(logits(plain), logits(models[0]))


def test_a_base_that_is_elsewhere(adapter, base, tmp_path):
    """Said when it is loaded or merged; saved again it names what it was loaded with."""
    expected = logits(C3Model.from_pretrained(adapter))
    moved = shutil.copytree(base, tmp_path / "moved")
    path = adapter / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_models": {"model": str(tmp_path / "gone")}}))
    with pytest.raises(OSError, match=r"adapter goes on the model .*gone, which cannot be loaded.*base_models="):
        C3Model.from_pretrained(adapter)
    model = C3Model.from_pretrained(adapter, base_models={"model": str(moved)})
    assert torch.equal(logits(model), expected)
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(C3Model.from_pretrained(tmp_path / "again")), expected)
    for source, options in ((tmp_path / "again", []), (adapter, ["--base", str(moved)])):
        merged = tmp_path / f"merged-{source.name}"
        assert main(["merge-lora", str(source), str(merged), *options]) == 0
        model = C3Model.from_pretrained(merged)
        assert model.config.base_models is None and not model.config.reconstruction_only
        assert {name: getattr(model.config, name) for name in CHANGED} == CHANGED
        assert model.config.tie_word_embeddings and not list(merged.glob("adapter_*"))
        torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)


def test_beside_its_base_in_one_repository(adapter, base, tmp_path, monkeypatch):
    """As this package has its own: a folder of it, or of a snapshot of the Hub, names the folder above."""
    repository = tmp_path / "hub" / "models--org--c3" / "snapshots" / ("0" * 40)
    shutil.copytree(base, repository)
    shutil.copytree(adapter, repository / "adapters" / "ask")
    path = repository / "adapters" / "ask" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_models": {"model": "../.."}}))
    (repository.parents[1] / "refs").mkdir()
    (repository.parents[1] / "refs" / "main").write_text("0" * 40)
    wanted = logits(C3Model.from_pretrained(adapter))
    assert torch.equal(logits(C3Model.from_pretrained(repository / "adapters" / "ask")), wanted)
    shutil.copytree(repository, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(logits(C3Model.from_pretrained("moved/adapters/ask")), wanted)
    options = {"subfolder": "adapters/ask", "cache_dir": tmp_path / "hub"}
    assert torch.equal(logits(C3Model.from_pretrained("org/c3", **options)), wanted)


@pytest.mark.parametrize(("name", "message"), [(".", "names itself as its model"), ("gone", "base_models=")])
def test_bases_that_cannot_be(adapter, name, message):
    path = adapter / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_models": {"model": name}}))
    with pytest.raises((ValueError, OSError), match=message):
        C3Model.from_pretrained(adapter)


def test_bases_that_go_on_one_another(adapter, trained, base, tmp_path):
    """Said before anything is loaded: of two, of three, and by way of an adapter alone."""

    def name_base(folder, base):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base_models": {"model": str(base)}}))

    second, third = (shutil.copytree(base, tmp_path / name) for name in ("second", "third"))
    for last in (adapter, tmp_path / "second" / ".." / "adapter"):
        name_base(adapter, second)
        name_base(second, last)
        with pytest.raises(ValueError, match="second goes on .*adapter as its model, and that on .*second in turn"):
            C3Model.from_pretrained(adapter)
    name_base(second, third)
    name_base(third, second)
    with pytest.raises(ValueError, match="third goes on .*second as its model, and that on .*third in turn"):
        C3Model.from_pretrained(adapter)
    alone = shutil.copytree(trained.parent / "checkpoint-2", tmp_path / "alone")
    path = alone / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(second)}))
    name_base(second, alone)
    with pytest.raises(ValueError, match="second names itself as its model"):
        C3Model.from_pretrained(alone)


def test_a_base_outside_of_its_repository():
    with pytest.raises(ValueError, match="outside of its repository"):
        _place("../../..", "org/c3", {"subfolder": "adapters/ask"})
    assert _place("../..", "org/c3", {"subfolder": "adapters/ask"}) == ("org/c3", {"subfolder": ""})


def test_saved_elsewhere_it_finds_its_base(adapter, base, tmp_path):
    """Whose name was relative to where the adapter was."""
    path = adapter / "config.json"
    shutil.copytree(base, tmp_path / "checkpoint")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_models": {"model": "../checkpoint"}}))
    model = C3Model.from_pretrained(adapter)
    model.save_pretrained(tmp_path / "far" / "away")
    assert torch.equal(logits(C3Model.from_pretrained(tmp_path / "far" / "away")), logits(model))


def test_latents_of_its_base(adapter, trained, base, make_model):
    """It was trained to read them; so does its base read its own. Its other template is no matter of theirs."""
    plain = C3Model.from_pretrained(base)
    latents = plain.compress(TEXTS[:2], ratio=4)
    other = make_model(seed=1).compress("a text")
    for model in (C3Model.from_pretrained(adapter), AutoModel.from_pretrained(trained.parent / "checkpoint-2")):
        asked = model.generate(latents, "Who?", **GREEDY)
        ours = model.compress(TEXTS[:2], ratio=4)
        assert torch.equal(ours.values, latents.values) and "adapter default" in ours.provenance.model_name
        assert model.generate(ours, "Who?", **GREEDY) == asked != model.generate(ours, "When?", **GREEDY)
        assert plain.expand(ours) == plain.expand(latents) and len(C3Latents.cat([ours, latents])) == 4
        with pytest.raises(LatentMismatchError, match="config_fingerprint|weights_fingerprint"):
            model.generate(other, "Who?")


def test_the_command_line(adapter, tmp_path, monkeypatch, capsys):
    """Asks it, and an adapter without a config of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(TEXTS[0])
    alone = shutil.copytree(adapter, tmp_path / "alone")
    (alone / "config.json").unlink()
    for folder in (adapter, alone):
        model = C3Model.from_pretrained(folder).eval()
        expected = model.generate(model.compress(TEXTS[0]), "Who?", **GREEDY)
        capsys.readouterr()
        assert main(["ask", "--model", str(folder), "a.txt", "Who?", "--max-new-tokens", "6"]) == 0
        assert capsys.readouterr().out == f"{expected}\n"
    (alone / "adapter_config.json").unlink()
    assert main(["ask", "--model", str(alone), "a.txt", "Who?"]) == 2
    assert "alone holds no config.json" in capsys.readouterr().err
