"""The memory estimate against counts by hand. Run: pytest tests/training/test_memory.py"""

import json
from pathlib import Path

import pytest
import torch

from c3.training.devices.memory import MemoryEstimate, estimate_activations, estimate_states
from c3.training.optim.lora import LoraSettings, add_lora
from c3.training.optim.optimizers import adamw
from c3.training.run import dry_run as dry_run_module
from c3.training.run.dry_run import memory_estimate
from tiny_models import TEXTS

PACKAGE = Path(dry_run_module.__file__).parents[2]
ADAMW = "optimizer={name: adamw, lr: 0.003}"


def states_of_adamw(model):
    """Bytes of weights, gradients and moments after a step."""
    optimizer = adamw(model)
    model(**model.processor(TEXTS[0])).loss.backward()
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [each for state in optimizer.state.values() for each in state.values() if each.ndim]
    return (
        sum(each.nbytes for each in model.parameters()),
        sum(each.grad.nbytes for each in model.parameters() if each.grad is not None),
        sum(each.nbytes for each in moments),
    )


def test_states_of_a_real_step(make_model):
    """Bytes of weights, gradients and AdamW's moments after a step, with a frozen decoder."""
    model = make_model()
    model.decoder.requires_grad_(False)
    found = states_of_adamw(model)
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    total, trainable = sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
    assert estimate_states(total, trainable) == found


@pytest.mark.parametrize(
    ("stage", "options", "per_device"),
    [
        (0, {}, (2, 2, 4)),
        (1, {}, (2, 2, 12 / 8)),
        (2, {}, (2, 2 / 8, 12 / 8)),
        (3, {}, (2 / 8, 2 / 8, 12 / 8)),
        (2, {"offload_optimizer": True}, (2, 2 / 8, 0)),
        (3, {"offload_optimizer": True, "offload_weights": True}, (0, 2 / 8, 0)),
    ],
)
def test_zero_stages_as_in_the_paper(stage, options, per_device):
    """Bytes per parameter on each of 8 devices (arXiv 1910.02054, figure 1, with Adam in mixed precision)."""
    found = estimate_states(8000, 8000, bytes_per_weight=2, zero_stage=stage, num_devices=8, **options)
    assert found == tuple(8000 * each for each in per_device)


def test_states_of_adapters(make_model, load_training):
    """On a bfloat16 base; what is trained is float32."""
    model = add_lora(make_model().to(torch.bfloat16), LoraSettings(r=4))
    recipe = load_training("memory", ADAMW, "lora={r: 4}", "dtype=bfloat16")
    estimate = memory_estimate(recipe, model, num_devices=1)
    assert (estimate.weights, estimate.gradients, estimate.optimizer) == states_of_adamw(model)


def test_settings_of_a_recipe_that_count(make_model, load_training):
    model = make_model()

    def estimate(*overrides):
        return memory_estimate(load_training("memory", ADAMW, *overrides), model, num_devices=2)

    def zero(**settings):
        return estimate(f"training.deepspeed={json.dumps({'zero_optimization': {'stage': 2} | settings})}")

    nowhere, whole = {"device": "none"}, zero()
    assert zero(offload_optimizer=nowhere, offload_param=nowhere) == whole
    cpu = estimate(f"training.deepspeed={PACKAGE / 'configs' / 'deepspeed' / 'zero2_offload.json'}")
    assert cpu.optimizer == 0 < whole.optimizer
    plain, old, new = (
        estimate(*each)
        for each in ([], ["training.gradient_checkpointing=true"], ["training.activation_checkpointing=true"])
    )
    assert old == new and new.activations < plain.activations


def test_activations(make_model):
    config = make_model(encoder_width=32, decoder_width=48).config
    kept = estimate_activations(config, 100, 20)
    logits = 100 * config.decoder_config.vocab_size * 12
    assert kept == 17 * 4 * 120 * (32 + 48) * 2 + logits
    assert estimate_activations(config, 100, 20, bytes_per_number=2) < kept
    checkpointed = estimate_activations(config, 100, 20, gradient_checkpointing=True)
    assert checkpointed == (17 + 2) * 4 * 120 * (32 + 48) + logits
    assert MemoryEstimate(1, 2, 3, 4).total == 10
