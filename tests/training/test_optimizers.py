"""MuonWithAdamW against torch's two optimizers on their own. Run: pytest tests/training/test_optimizers.py"""

import copy
import io

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_polynomial_decay_schedule_with_warmup

from c3.training.optim import muon
from c3.training.optim import orthogonalise as iterations
from c3.training.optim.lora import LoraSettings, add_lora
from c3.training.optim.muon import BatchedMuon
from c3.training.optim.optimizers import MuonWithAdamW, adamw
from c3.training.optim.parts import parameter_groups, part_of, set_trainable
from tiny_models import TEXTS

OPTIONS = {"lr": 1e-2, "muon_lr": 0.05, "momentum": 0.9, "betas": (0.8, 0.99), "weight_decay": 0.1}


def backward(model, step=0):
    model.zero_grad()
    batch = model.processor(TEXTS[step % len(TEXTS)])
    batch["input_ids"][0, -2] = model.config.mask_token_id  # so that the mask embedding has a gradient too
    model(**batch).loss.backward()


def split_parameters(model):
    """Matrices inside the layers, and everything else."""
    groups = parameter_groups(model, 1.0)
    return [[p for group in groups if group["hidden"] == hidden for p in group["params"]] for hidden in (True, False)]


def assert_same(left, right):
    for (name, ours), theirs in zip(left.named_parameters(), right.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_split(make_model):
    model = make_model("uniform", encoder="qwen3", decoder="llama", projector="mlp")
    model.encoder.norm.weight.requires_grad_(False)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hidden, rest = ([names[id(parameter)] for parameter in group] for group in split_parameters(model))
    # Seven matrices in each of the two layers of the two models.
    assert len(hidden) == 28 and all(".layers." in name and name.endswith("proj.weight") for name in hidden)
    assert {"context_queries.weight", "mask_embedding.weight", "projector.linear_2.weight"} <= set(rest)
    assert {"encoder.embed_tokens.weight", "decoder.lm_head.weight", "decoder.model.norm.weight"} <= set(rest)
    assert "encoder.norm.weight" not in hidden + rest
    assert not any(name.endswith("proj.weight") for name in rest)


@pytest.fixture
def in_float32(monkeypatch):
    """Both iterate in float32: Newton-Schulz magnifies bfloat16's rounding in directions without gradient."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    monkeypatch.setattr(iterations, "product_dtype", lambda device: torch.float32)


def test_equals_muon_and_adamw_run_separately(make_model, in_float32):
    together, apart = make_model("uniform"), make_model("uniform")
    ours = MuonWithAdamW(together, **OPTIONS)
    hidden, rest = split_parameters(apart)
    theirs = [
        torch.optim.Muon(hidden, lr=0.05, momentum=0.9, weight_decay=0.1),
        torch.optim.AdamW(rest, lr=1e-2, betas=(0.8, 0.99), weight_decay=0.0),
    ]
    before = copy.deepcopy(together.state_dict())
    for step in range(3):
        backward(together, step)
        backward(apart, step)
        ours.step()
        for each in theirs:
            each.step()
    for (name, found), expected in zip(together.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert all(not torch.equal(value, before[name]) for name, value in together.named_parameters())


def test_scheduler_acts_on_both(make_model):
    optimizer = MuonWithAdamW(make_model("uniform"), lr=1e-2, muon_lr=0.04)
    scheduler = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=4, num_training_steps=10)
    seen = []
    for _ in range(4):
        seen.append([{group["lr"] for group in each.param_groups} for each in optimizer.optimizers])
        optimizer.step()
        scheduler.step()
    # One rate for all groups of each.
    assert [[rate for rates in each for rate in rates] for each in seen] == [
        pytest.approx([step * 0.01, step * 0.0025]) for step in range(4)
    ]
    assert {group["lr"] for group in optimizer.param_groups} == {0.04, 0.01}


def test_a_schedule_that_reads_the_default_rate(make_model):
    """The polynomial one ends at a rate of its own, and takes the first from the optimizer's defaults."""
    optimizer = MuonWithAdamW(make_model("uniform"), lr=1e-2, muon_lr=0.04)
    scheduler = get_polynomial_decay_schedule_with_warmup(optimizer, 0, 4, lr_end=1e-3)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    rates = [{group["lr"] for group in each.param_groups} for each in optimizer.optimizers]
    assert [rate for each in rates for rate in each] == pytest.approx([4e-3, 1e-3])


def test_closure_and_zero_grad(make_model):
    model = make_model("uniform")
    optimizer = MuonWithAdamW(model)

    def closure():
        backward(model)
        return 3.0

    assert optimizer.step(closure) == 3.0
    assert model.context_queries.weight.grad is not None
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file], ids=["deepcopy", "file"])
def test_state_goes_on_identically(carry, make_model):
    def start():
        model = make_model("uniform")
        optimizer = MuonWithAdamW(model, **OPTIONS)
        return model, optimizer, get_cosine_schedule_with_warmup(optimizer, 1, 9)

    def run(model, optimizer, scheduler, steps):
        for step in steps:
            backward(model, step)
            optimizer.step()
            scheduler.step()

    model, optimizer, scheduler = start()
    run(model, optimizer, scheduler, range(3))
    states = carry([each.state_dict() for each in (model, optimizer, scheduler)])
    run(model, optimizer, scheduler, range(3, 6))
    resumed = start()
    for each, state in zip(resumed, states, strict=True):
        each.load_state_dict(state)
    run(*resumed, range(3, 6))
    assert_same(model, resumed[0])
    assert resumed[1].param_groups[0] is resumed[1].optimizers[0].param_groups[0]


def test_a_copy_is_a_whole_optimizer(make_model):
    model = make_model("uniform")
    optimizer = MuonWithAdamW(model, **OPTIONS)
    backward(model)
    optimizer.step()
    processor, model._processor = model.processor, None
    twin, copied = copy.deepcopy((model, optimizer))
    model.processor = twin.processor = processor
    copied.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] = 0.5
    for each in (model, twin):
        backward(each, 1)
    optimizer.step()
    copied.step()
    assert_same(model, twin)


def test_errors(make_model):
    model = make_model("uniform")
    with pytest.raises(ValueError, match="written with another optimizer"):
        MuonWithAdamW(model).load_state_dict(torch.optim.AdamW(model.parameters()).state_dict())
    with pytest.raises(ValueError, match="Muon needs trainable matrices inside `layers`, and found none"):
        set_trainable(model, ["queries", "projector"])
        MuonWithAdamW(model)


def test_learning_rates_of_parts(make_model):
    model = make_model("uniform", encoder="qwen3", decoder="llama")
    rates = {"encoder": 1e-3, "queries": 0.1}
    optimizer = MuonWithAdamW(model, lr=1e-2, muon_lr=0.04, learning_rates=rates, weight_decay=0.1)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        group = found[id(parameter)]
        part = part_of(name, parameter, model)
        if ".layers." in name and parameter.ndim == 2:
            # Muon's rate changes in the same proportion.
            assert group["lr"] == pytest.approx({"encoder": 0.004}.get(part, 0.04)), name
            assert group["weight_decay"] == 0.1
        else:
            assert group["lr"] == pytest.approx(rates.get(part, 1e-2)), name
            assert group["weight_decay"] == 0


def test_adamw_decays_matrices_only(make_model):
    model = make_model("uniform", projector="mlp")
    optimizer = adamw(model, lr=1e-3, weight_decay=0.1)
    decaying = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decaying}
    assert {"projector.linear_1.weight", "projector.linear_2.weight"} <= names
    assert all(".layers." in name or name.startswith("projector") for name in names)
    assert not any("norm" in name or "bias" in name or "embed" in name or "queries" in name for name in names)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize("has_more", [True, False], ids=["with queries", "alone"])
def test_muon_trains_adapters(has_more, make_model):
    """Both factors, and AdamW what is trained in full, where that is anything; the first update is orthogonal."""
    model = make_model("uniform", use_mask_embedding=has_more)
    batch = model.processor(TEXTS[0])
    model = add_lora(model, LoraSettings(r=4, train_queries=has_more))
    names = {id(each): name for name, each in model.named_parameters() if each.requires_grad}
    optimizer = MuonWithAdamW(model, muon_lr=0.02)
    muon, *adamw = (
        {names[id(p)] for group in each.param_groups for p in group["params"]} for each in optimizer.optimizers
    )
    assert muon == {name for name in names.values() if "lora_" in name}
    assert adamw == ([set(names.values()) - muon] if has_more else [])
    model(**batch).loss.backward()
    optimizer.step()
    for name, factor in model.named_parameters():
        if "lora_B" in name:
            sizes = torch.linalg.svdvals(factor) / (0.02 * (factor.shape[0] / 4) ** 0.5)
            assert 0.6 < sizes.min() < sizes.max() < 1.3, name
        elif "lora_A" in name:
            # While the other factor is 0 it has no gradient.
            assert factor.isfinite().all(), name


def matrices(*shapes):
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=generator)
    return parameters


@pytest.mark.parametrize(
    "options",
    [{}, {"nesterov": False, "ns_steps": 3}, {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0}],
    ids=["default", "plain", "rms"],
)
@pytest.mark.parametrize("numbers", [1, 1 << 22], ids=["one by one", "together"])
def test_batched_muon_equals_torchs(options, numbers, in_float32, monkeypatch):
    monkeypatch.setattr(muon, "CPU_BATCH_NUMBERS", numbers)
    shapes = [(8, 8), (24, 8), (8, 24), (8, 8), (24, 8), (5, 7)]
    ours, theirs, start = (matrices(*shapes) for _ in range(3))
    optimizers = BatchedMuon(ours, lr=0.1, **options), torch.optim.Muon(theirs, lr=0.1, **options)
    for _ in range(3):
        for each in optimizers:
            each.step()
    for found, expected, before in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.equal(found, before)
    # What one wrote the other reads, so that checkpoints of either can be gone on from.
    optimizers[0].load_state_dict(copy.deepcopy(optimizers[1].state_dict()))
    for each in optimizers:
        each.step()
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
