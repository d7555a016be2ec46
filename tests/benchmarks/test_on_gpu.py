"""Benchmarks, and all that they call, on a GPU or its stand-in. Run: pytest tests/benchmarks/test_on_gpu.py"""

import json
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from c3 import search_decoding_c3, window_decoding_c3
from c3.benchmarks import decode_step, long_text, peak_memory
from c3.benchmarks.harness import Setup
from c3.benchmarks.profile import shares
from c3.benchmarks.registry import BENCHMARKS
from c3.benchmarks.report import render
from c3.benchmarks.run_header import describe
from gpu_stand_in import IS_NEEDED, stand_in_gpu

TEXT = "We hold these truths to be self-evident, that all men are created equal. "
ON_CPU_ALONE = {"load-latents", "import-time", "draw-text", "allocator"}
SLOW = {"half-precision", "long-text"}
# The trainer's libraries ask the GPU itself what it can do, and so does the process of a server.
NOT_ON_A_STAND_IN = {"train-step", "serve-load"} if IS_NEEDED else set()


# Random weights reach no fidelity.
pytestmark = pytest.mark.filterwarnings("ignore::c3.options_c3.CompressionWarning")


@pytest.fixture
def gpu():
    with stand_in_gpu():
        yield


@pytest.fixture
def setup(gpu, monkeypatch):
    """What starts a process stays in this one: another has no stand-in."""
    for module in (long_text, peak_memory):
        monkeypatch.setattr(module, "in_fresh_process", lambda function, *arguments, time_limit: function(*arguments))
    return Setup(size="tiny", device="cuda", runs=1, warm_up=0, smoke=True)


# ------------------------------------------------------------------------------------------------------ the stand-in


def test_the_stand_in_finds_mistakes(gpu):
    """A test of devices that cannot fail says nothing."""
    ours, theirs = torch.ones(2, 3, device="cuda"), torch.ones(3)
    assert ours.device == torch.device("cuda", 0) and torch.zeros_like(ours).is_cuda and not ours.cpu().is_cuda
    for mistake in (lambda: ours + theirs, lambda: torch.cat([ours[0], theirs]), lambda: theirs[ours[0] > 0]):
        with pytest.raises(RuntimeError, match="same device|should be either on cpu or"):
            mistake()
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        ours.numpy()
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        torch.randn(2, device="cuda", generator=torch.Generator())
    # What a GPU takes.
    assert (ours[:, torch.tensor([0, 2])] + torch.tensor(1.0)).tolist() == [[2.0, 2.0]] * 2
    ours[0] = theirs.to(ours.device) * 3
    assert ours.cpu().numpy().tolist() == [[3.0] * 3, [1.0] * 3] and int(ours.sum()) == 12
    assert torch.tensor([5], device=ours.device).is_cuda and theirs.copy_(ours[0]).tolist() == [3.0] * 3


def test_mistakes_in_a_benchmark_and_in_the_library_are_found(setup, monkeypatch):
    latents = setup.windows(2, 4)
    on_cpu = SimpleNamespace(zeros=lambda *shape, dtype, device: torch.zeros(shape, dtype=dtype), long=torch.long)
    monkeypatch.setattr(decode_step, "torch", on_cpu)
    with pytest.raises(RuntimeError, match="same device"):
        decode_step.measure(setup)
    monkeypatch.setattr(window_decoding_c3, "execution_device", lambda module: torch.device("cpu"))
    with pytest.raises(RuntimeError, match="same device"):
        setup.model.expand(latents)


# ------------------------------------------------------------------------------------------------- what is to work


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in BENCHMARKS
        if name not in ON_CPU_ALONE | NOT_ON_A_STAND_IN
    ],
)
def test_smoke_run(name, setup):
    rows = BENCHMARKS[name].measure(setup)
    assert setup.model.device.type == "cuda"
    assert rows and all(row["met"] for row in rows if row.get("is_check")), rows
    json.dumps(rows, allow_nan=False)
    result = {**describe(setup), "benchmarks": {name: {"rows": rows, "seconds": 1.0}}}
    assert render(result).count(f"| `{name}` |") == len(rows)
    if name in ("peak-memory", "large-model"):
        assert sum("the GPU's memory in tensors" in row["case"] for row in rows) == (3 if name == "peak-memory" else 1)


def test_what_measures_the_cpu_alone_is_left_out(setup):
    assert {name for name, each in BENCHMARKS.items() if each.why_not(setup)} == ON_CPU_ALONE
    on_cpu = Setup(size="tiny")
    assert {name for name, each in BENCHMARKS.items() if each.why_not(on_cpu)} == {"large-model"}


def test_texts_as_on_the_cpu(make_model, gpu, tmp_path, monkeypatch):
    """Every way to compress, expand and ask."""
    monkeypatch.setattr(search_decoding_c3, "ROUNDS", 1)
    model = make_model("uniform")

    def results():
        plain = model.compress([TEXT[:12], TEXT[:5]], num_latents=4, show_progress=False)
        exact = model.compress(TEXT, num_latents=4, exact=True, show_progress=False)
        saved = model.compress(TEXT, num_latents=2, min_fidelity=1, output=tmp_path / "a.c3", show_progress=False)
        assert plain.device.type == exact.device.type == model.device.type and saved.device.type == "cpu"
        assert model.expand(exact) == TEXT
        measured = model.compress(TEXT, num_latents=4, measure=True, show_progress=False)
        searched = model.expand(plain, method="search", beams=2, check=True, return_scores=True, show_progress=False)
        return [
            *(model.expand(plain, method=method, show_progress=False) for method in (None, "greedy", "parallel")),
            [(window.ids, window.comes_back) for text in searched for window in text.windows],
            list(model.expand(saved, stream=True)),
            measured.window_fidelities,
            model.generate(plain, "What is it?", max_new_tokens=4),
            model.generate(exact, "What is it?", max_new_tokens=4, raw_below=1.0, num_beams=2),
            model.chat(TEXT[:40], "What is it?", max_new_tokens=4),
        ]

    on_cpu = results()
    model.to("cuda")
    assert model.device.type == "cuda"
    found = results()
    # A GPU rounds in its own way, by which random weights may choose another token.
    assert found == on_cpu or not IS_NEEDED


def test_a_kernels_time_counts_once():
    """With the operation that started it, so that the shares of a GPU's time sum to 1."""
    events = [
        SimpleNamespace(key=key, count=1, device_type=kind, self_device_time_total=time)
        for key, kind, time in (
            ("aten::mm", DeviceType.CPU, 3.0),
            ("aten::add", DeviceType.CPU, 1.0),
            ("(encoder)", DeviceType.CPU, 0.0),
            ("gemm_kernel", DeviceType.CUDA, 3.0),
            ("(encoder)", DeviceType.CUDA, 4.0),
        )
    ]
    found = shares(events, "self_device_time_total")
    assert found == [("aten::mm", 1, 0.75), ("aten::add", 1, 0.25), ("(encoder)", 1, 0.0)]


def test_a_model_leaves_torch_as_it_was():
    """A default device that stays would have Python asked at every call, and slow down what is measured next."""
    assert Setup(size="tiny").model.dtype == torch.float32
    assert not torch.overrides._get_current_function_mode_stack() and torch.get_default_dtype() == torch.float32
