"""DeepSpeed's Muon against ours, on whole matrices; test_distributed.py has it under ZeRO."""

import pytest
import torch

from c3.training.optim import orthogonalise
from c3.training.optim.optimizers import MuonWithAdamW, make_optimizer
from tiny_models import TEXTS

# DeepSpeed is installed for the tests with this marker.
pytestmark = pytest.mark.distributed


def train(model, optimizer, steps=3):
    for step in range(steps):
        model.zero_grad()
        batch = model.processor(TEXTS[step])
        batch["input_ids"][0, -2] = model.config.mask_token_id  # so that the mask embedding has a gradient too
        model(**batch).loss.backward()
        optimizer.step()


def test_equals_muon_with_adamw(make_model, monkeypatch):
    """In fp32: both iterate in bfloat16, whose rounding Newton-Schulz magnifies in directions without gradient."""
    from deepspeed.runtime.zero.muon import original_muon

    monkeypatch.setattr(orthogonalise, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    monkeypatch.setattr(original_muon, "ns_compute_dtype", lambda method: torch.float32)
    ours, theirs, start = make_model(), make_model(), make_model()
    train(ours, MuonWithAdamW(ours, lr=1e-2, muon_lr=0.05, momentum=0.9, betas=(0.8, 0.99), weight_decay=0.1))
    options = {"lr": 1e-2, "muon_lr": 0.05, "momentum": 0.9, "betas": (0.8, 0.99), "weight_decay": 0.1}
    optimizer = make_optimizer(theirs, "muon", zero_stage=2, **options)
    # DeepSpeed compiles the iteration; what is compared here is its result.
    with torch.compiler.set_stance("force_eager"):
        train(theirs, optimizer)
    before = start.state_dict()
    for name, expected in ours.state_dict().items():
        change, difference = (expected - before[name]).norm(), (theirs.state_dict()[name] - expected).norm()
        assert change > 0, name
        assert difference < 1e-3 * change, (name, float(difference / change))
    assert {group["lr"] for group in optimizer.param_groups} == {0.05, 1e-2}


def test_the_scheduler_reaches_both_halves(make_model):
    optimizer = make_optimizer(make_model(), "muon", zero_stage=2, lr=1e-2, muon_lr=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    with torch.compiler.set_stance("force_eager"):
        optimizer.step()
    scheduler.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.025, 0.005}
    assert optimizer.aux_optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
