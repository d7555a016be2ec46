"""What several tests of training start from: recipes, adapters, and a stand-in for the Hub."""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from transformers.utils import hub as transformers_hub

from adapted_models import as_if_trained
from c3 import C3Model
from c3.training.optim.lora import LoraSettings, add_lora, save_adapter
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run import stages
from hub_stand_in import HubStandIn


@pytest.fixture(scope="session", autouse=True)
def curves_drawn_once():
    """Curves take a third of a tiny run's time: of runs that log the same keys the first draws them for all."""
    plot, drawn = stages.plot_training_curves, {}

    def plot_or_copy(history, path):
        keys = frozenset(key for entry in history for key in entry)
        if keys not in drawn:
            plot(history, path)
            drawn[keys] = Path(path).read_bytes()
        Path(path).write_bytes(drawn[keys])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "plot_training_curves", plot_or_copy)
        yield


@pytest.fixture
def recipe_values(tmp_path, monkeypatch):
    """A recipe that may be run."""
    monkeypatch.chdir(tmp_path)
    for name in ("train.txt", "validation.txt"):
        (tmp_path / name).write_text("text")
    backbone = {"model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": 2, "rope_theta": 5e5}
    return {
        "output_dir": "run",
        "train_data": "train.txt",
        "validation_data": ["validation.txt"],
        "tokenizer": {"vocab_size": 300},
        "model": {
            "latent_position_layout": "uniform",
            "window": 64,
            "num_latents": 16,
            "use_mask_embedding": True,
            "encoder_config": backbone,
            "decoder_config": copy.deepcopy(backbone),
        },
        "curriculum": [
            {"until": 0.5, "windows": [32], "ratios": [4, 4]},
            {"until": 1, "windows": [64], "ratios": [4, 8]},
        ],
        "tokens_per_batch": 256,
        "dropout_windows": 0.5,
        "optimizer": {"name": "muon", "lr": 0.003, "muon_lr": 0.02},
        "evaluation": {"ratios": [4, 8.5], "windows": 2, "window": 64},
        "training": {"max_steps": 10, "eval_strategy": "steps", "eval_steps": 5},
    }


@pytest.fixture
def load_changed(recipe_values, tmp_path):
    """Loads the recipe with keys replaced: `load_changed({"model.window": 8}, "key=value")`; None removes one."""

    def load_changed(changes=None, *overrides):
        changed = copy.deepcopy(recipe_values)
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            target = changed
            for parent in parents:
                target = target[parent]
            if value is None:
                target.pop(last)
            else:
                target[last] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(changed))
        return load_recipe(path, overrides)

    return load_changed


@pytest.fixture
def adapt(checkpoint):
    """`adapt(r=4, …)`: the checkpoint with a LoRA adapter that does something."""

    def adapt(base=checkpoint, dtype=torch.float32, **settings):
        torch.manual_seed(0)
        return as_if_trained(add_lora(C3Model.from_pretrained(base, dtype=dtype), LoraSettings(r=4, **settings)))

    return adapt


@pytest.fixture
def adapter(adapt, tmp_path):
    """Folder of a saved adapter."""
    save_adapter(adapt(), tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture(scope="module")
def hub():
    with HubStandIn(tokens={"good": {"org", "somebody"}, "reader": set()}) as hub:
        yield hub
        assert not hub.unknown


@pytest.fixture
def client(hub, monkeypatch, tmp_path):
    """The client in this process talks to the stand-in alone, with a token that may write and a cache of its own."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    # What transformers made of the old endpoint; it makes another.
    monkeypatch.setattr(transformers_hub, "_hf_api", None, raising=False)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_HUB_CACHE", "HF_TOKEN_PATH", "AGENT_HARNESSES_PATH"):
        monkeypatch.setattr(constants, name, str(tmp_path / "home" / name), raising=False)
    monkeypatch.setenv("HF_TOKEN", "good")
    return hub
