"""Tiny models with LoRA adapters."""

import json

import torch

from c3.training.optim.lora import LoraSettings, add_lora, save_adapter
from tiny_models import TEXTS

READING = {"r": 2, "parts": ["decoder"], "train_queries": False, "train_norms": True}
ASKING = "{latents}{prompt} "  # the template of a prompt adapter


def as_if_trained(model):
    """New adapters add nothing and the whole parts are copies: moves both."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def save_with_prompt_adapter(model, folder, name="ask_adapter"):
    """
    Saves a model, which only gives texts back, with an adapter for prompts in the folder `name`. What `model` becomes
    is the model with this adapter, always on.
    """
    model.config.reconstruction_only, model.config.prompt_adapter = True, None
    model.save_pretrained(folder)
    adapted = as_if_trained(add_lora(model, LoraSettings(**READING)))
    save_adapter(adapted, folder / name)
    for file in (folder / name).iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    config = json.loads((folder / "config.json").read_text())
    own = {"prompt_template": ASKING, "reconstruction_only": False, "base_models": {"model": ".."}}
    (folder / name / "config.json").write_text(json.dumps(config | own))
    (folder / "config.json").write_text(json.dumps(config | {"prompt_adapter": name}))


def tell(model, texts=TEXTS):
    """Latents and the text that they give."""
    latents = model.compress(texts, num_latents=4, dtype=model.dtype)
    return latents, model.expand(latents)


def prints(model):
    return model.latent_provenance().weights_fingerprint
