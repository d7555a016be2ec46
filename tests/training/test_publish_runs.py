"""Runs that push what they trained to a stand-in for the Hub. Run: pytest tests/training/test_publish_runs.py"""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from c3 import C3Model
from c3.training.checks import RecipeError
from c3.training.optim.parts import count_parameters
from c3.training.publish.hub_settings import HubSettings
from c3.training.publish.push import PublishError, publish
from c3.training.run.stages import train
from hub_processes import expected, load_elsewhere
from tiny_models import TEXTS


def test_a_run_pushes_its_model(client, load_training, tmp_path, capsys):
    """From the recipe's key to the model that is loaded from there; and a missing login stops it before it trains."""
    hub = "hub={repo_id: org/trained, license: apache-2.0, languages: [en, zh]}"
    recipe = load_training("pushed", "training.max_steps=2", "training.eval_steps=2", hub)
    final = train(recipe)
    assert f"Pushed: {client.endpoint}/org/trained/commit/" in capsys.readouterr().err
    card = (final / "README.md").read_text()
    assert "free-running precision at 2x" in card and str(final.parent) not in card
    metadata = ModelCard.load(final / "README.md").data
    assert metadata.license == "apache-2.0" and metadata.language == ["en", "zh"]
    found = load_elsewhere(client, tmp_path / "elsewhere", "org/trained")
    assert found["org/trained"] == expected(C3Model.from_pretrained(final)) and found["examples"] == 1


LORA = ["lora={r: 4, parts: [decoder]}", "optimizer={name: adamw, lr: 0.01}", "training.max_steps=2"]
NO_EVALUATION = ["training.eval_strategy=no", "evaluation={}", "validation_data=[]"]


def test_a_run_pushes_its_adapter(client, load_training, make_model, tmp_path):
    """To a branch, from which the card's example loads it on its base, in a process that has neither."""
    make_model().push_to_hub("org/base")
    hub = "hub={repo_id: org/adapter, revision: v1}"
    recipe = load_training("adapter", *LORA, *NO_EVALUATION, hub, "init_from=org/base", "model={}", "tokenizer=null")
    final = train(recipe)
    files = client.repositories["org/adapter"].files("v1")
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    assert json.loads(files["adapter_config.json"].content)["base_model_name_or_path"] == "org/base"
    # The main branch as well, where the process finds the card, which names the other one.
    publish(final, HubSettings("org/adapter"))
    assert 'adapter_kwargs={"revision": "v1"}' in (final / "README.md").read_text()
    found = load_elsewhere(client, tmp_path / "elsewhere", "org/adapter")
    assert found["org/adapter"] == expected(C3Model.from_pretrained(final)) and found["examples"] == 1
    assert found["org/adapter"]["latents"] != expected(C3Model.from_pretrained("org/base"))["latents"]


def test_a_run_pushes_its_merged_adapter(client, load_training, tmp_path, capsys):
    """Of a model that is on this machine alone; when the end of the run comes a second time, too."""
    recipe = load_training("merged", *LORA, *NO_EVALUATION, "hub={repo_id: org/merged, merged: true}")
    final = train(recipe)
    merged = final.with_name("merged")
    (merged / "left").touch()
    train(recipe)
    assert not (merged / "left").exists() and not merged.with_name("merged.tmp").exists()
    model = C3Model.from_pretrained(merged)
    assert f"| decoder | {count_parameters(model)['decoder'][0]:,} |" in (merged / "README.md").read_text()
    assert str(final) in (final / "README.md").read_text()
    found = load_elsewhere(client, tmp_path / "elsewhere", "org/merged")
    assert found["org/merged"] == expected(model) and found["examples"] == 1
    adapted = C3Model.from_pretrained(final).compress(TEXTS[0]).values
    assert adapted.tolist() != expected(C3Model.from_pretrained(final.with_name("base")))["latents"]
    assert torch.allclose(model.compress(TEXTS[0]).values, adapted, atol=1e-4)

    # The adapter by hand: nobody else could load it.
    with pytest.raises(PublishError) as stop:
        publish(final, HubSettings("org/merged"))
    assert f"{final} is an adapter on {final.with_name('base')}, which is not on the Hub" in str(stop.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([LORA[0]], "hub: nobody else could load an adapter on a new model, which is on this machine alone: set hub.m"),
        ([LORA[0], "init_from=%s"], "hub: nobody else could load an adapter on .*, which is on this machine alone"),
        (["hub.merged=true"], "hub.merged is for runs with lora"),
    ],
)
def test_what_nobody_else_could_load_is_found_before_training(overrides, message, load_training, checkpoint):
    options = [each.replace("%s", str(checkpoint)) for each in overrides]
    options += ["model={}", "tokenizer=null"] if len(options) == 2 else []
    with pytest.raises(RecipeError, match=message):
        load_training("nobody", LORA[1], "hub={repo_id: org/adapter}", *options)


def test_a_run_that_could_not_push_does_not_start(client, load_training, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "reader")
    recipe = load_training("not pushed", "hub={repo_id: org/trained}")
    with pytest.raises(PublishError, match="hub: cannot push to org/trained"):
        train(recipe)
    assert [each.name for each in Path(recipe.output_dir).iterdir()] == [".lock"]
