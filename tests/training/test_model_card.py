"""What a trained model's card says, and what it keeps to itself. Run: pytest tests/training/test_model_card.py"""

from dataclasses import dataclass

import pytest
from huggingface_hub import ModelCard

from c3.support import environment as run_environment
from c3.support.environment import describe_hardware, library_versions
from c3.support.without_secrets import hub_ids, without_secrets
from c3.training.publish.model_card import NOT_MEASURED, TrainedModel, measured_precision, write_model_card

HISTORY = [
    {"step": 1, "loss": 9.5, "grad_norm": 1.0},
    {"step": 4, "eval_precision_4x": 0.5, "eval_precision_16x": 0.25},
    {"step": 8, "loss": 2.0},
    {"step": 8, "eval_precision_4x": 0.96875, "eval_precision_16x": 0.75},
    {"step": 8, "train_loss": 5.0, "train_runtime": 60.0},
]


@pytest.fixture
def described(tmp_path):
    """`described(**changes)`: a run of 8 steps on a local file and a Hub dataset."""

    def make(**changes):
        known = {
            "model_id": "org/c3-small",
            "recipe": {"output_dir": "/home/someone/runs/small", "tokens_per_batch": 128, "hub": {"token": "hf_x"}},
            "log_history": HISTORY,
            "parameters": {"encoder": 1500, "decoder": 2500, "total": 4000},
            "step": 8,
            "train_data": [str(tmp_path / "books.parquet"), "org/pages"],
            "validation_data": ["org/validation"],
            "tokens": 32_768,
            "seconds": 3 * 3600 + 15 * 60,
            "hardware": "4 x NVIDIA H200",
        }
        return TrainedModel(**known | changes)

    return make


def written(folder, *args, **kwargs):
    return ModelCard.load(write_model_card(folder, *args, **kwargs))


def test_adapters(described, tmp_path):
    """How one is loaded from a branch, where its base has none of that name; what merging does to the figures."""
    separate = written(tmp_path, described(adapter="separate", revision="v1")).text
    assert 'AutoModel.from_pretrained("org/c3-small", adapter_kwargs={"revision": "v1"}, trust' in separate
    assert "needs `pip install peft`" in separate and "Measured on these weights." in separate
    assert 'later, load that model by itself with `revision="<commit>"`' in separate
    merged = written(tmp_path, described(adapter="merged", revision="v1")).text
    assert 'AutoModel.from_pretrained("org/c3-small", revision="v1", trust' in merged and "pip install" not in merged
    assert "Measured on these weights, before the adapter was merged into its base, which rounds." in merged


@pytest.mark.parametrize(("adapter", "relation"), [(None, "finetune"), ("merged", "finetune"), ("separate", "adapter")])
def test_how_it_comes_from_its_base_models(adapter, relation, described, tmp_path):
    """Said, as of several the Hub would infer that they were merged; nothing of a model from scratch."""
    card = written(tmp_path, described(adapter=adapter, base_models=["org/encoder", "org/decoder"]))
    assert card.data.base_model == ["org/encoder", "org/decoder"] and card.data.base_model_relation == relation
    assert not {"base_model", "base_model_relation"} & set(written(tmp_path, described()).data.to_dict())


def test_what_was_measured_is_in_the_text_and_in_the_metadata(described, tmp_path):
    card = written(tmp_path, described(license="apache-2.0", languages=["en"], base_models=["org/base"]))
    assert "| 4x | 0.9688 |\n| 16x | 0.7500 |" in card.text and "0.5000" not in card.text
    assert "Free-running precision" in card.text and "the model's own tokens" in card.text
    assert "validation data (`org/validation`)" in card.text and "Measured on these weights." in card.text
    results = {result.metric_name: result.metric_value for result in card.data.eval_results}
    names = [f"free-running precision at {ratio}x, own tokens per latent" for ratio in (4, 16)]
    assert results == dict(zip(names, (0.96875, 0.75), strict=True))
    assert {result.dataset_type for result in card.data.eval_results} == {"org/validation"}
    assert card.data.model_name == "c3-small" and card.data.license == "apache-2.0"
    assert card.data.language == ["en"] and card.data.base_model == ["org/base"]
    assert card.data.datasets == ["org/pages"] and card.data.library_name == "transformers"


def test_the_run_is_described(described, tmp_path):
    text = written(tmp_path, described()).text
    for row in (
        "| encoder | 1,500 |",
        "| total | 4,000 |",
        "| steps | 8 |",
        "| text tokens | 32,768 |",
        "| training loss, last logged | 2.0000 nats per token |",
        "| wall time | 3 h 15 min |",
        "| hardware | 4 x NVIDIA H200 |",
        "- `books.parquet`\n- `org/pages`",
        "tokens_per_batch: 128",
        'AutoModel.from_pretrained("org/c3-small", trust_remote_code=True)',
        ", ratio=4)",
    ):
        assert row in text, row
    assert f"Python {library_versions()['Python']}" in text
    assert 'nothing later, give `revision="<commit>"`, the 40 digits of a commit' in text
    revised = written(tmp_path, described(revision="try/two")).text
    assert 'from_pretrained("org/c3-small", revision="try/two", trust_remote_code=True)' in revised


def test_what_was_not_measured(described, tmp_path):
    unmeasured = described(log_history=[], tokens=None, seconds=None, validation_data=[])
    card = written(tmp_path, unmeasured)
    assert card.text.count(NOT_MEASURED) == 4
    assert f"Precision: **{NOT_MEASURED}**. The run had no evaluation." in card.text
    assert card.data.eval_results is None and "ratio=" not in card.text
    assert written(tmp_path, described(seconds=75)).text.count(NOT_MEASURED) == 0


@pytest.mark.parametrize(("step", "said"), [(4, "these weights."), (7, "the weights of step 4, not these of step 7.")])
def test_figures_of_other_weights_are_not_claimed(step, said, described, tmp_path):
    """The best checkpoint may be an earlier one than the last, and the last evaluation may be before the end."""
    card = written(tmp_path, described(step=step))
    assert "| 4x | 0.5000 |" in card.text and f"Measured on {said}" in card.text
    assert "| training loss, last logged | 9.5000" in card.text
    results = [result.metric_value for result in card.data.eval_results or ()]
    assert results == ([0.5, 0.25] if step == 4 else [])


def test_precision_by_task():
    history = [{"step": 2, "eval_zh_precision_4x": 0.5, "eval_precision_2.5x": 0.75, "eval_loss": 1.0}]
    history.append({"step": 2, "eval_precision_10x": 0.25})
    assert measured_precision(history, 2) == (2, {("", 2.5): 0.75, ("", 10.0): 0.25, ("zh", 4.0): 0.5})
    assert measured_precision(history, 1) == (None, {})


def test_a_task_has_its_own_column(described, tmp_path):
    history = [{"step": 8, "eval_zh_precision_4x": 0.5, "eval_precision_4x": 0.75}]
    card = written(tmp_path, described(log_history=history))
    assert "| 4x | reconstruction | 0.7500 |\n| 4x | zh | 0.5000 |" in card.text
    assert [each.metric_name.endswith("(zh)") for each in card.data.eval_results] == [False, True]


def test_figures_and_logs_lie_beside_the_card(described, tmp_path):
    final = tmp_path / "final"
    final.mkdir()
    (tmp_path / "training_curves.png").write_bytes(b"figure")
    (final / "metrics.jsonl").write_text("{}")
    text = written(final, described(), [tmp_path / "training_curves.png"], [final / "metrics.jsonl"]).text
    assert "![training curves](training_curves.png)" in text and "[metrics.jsonl](metrics.jsonl)" in text
    assert (final / "training_curves.png").read_bytes() == b"figure"
    with pytest.raises(FileNotFoundError, match="missing.png"):
        write_model_card(final, described(), [tmp_path / "missing.png"])


@dataclass
class Source:
    path: str
    weight: float


def test_paths_and_tokens_stay_private(described, tmp_path, monkeypatch):
    content = write_model_card(tmp_path, described()).read_text(encoding="utf-8")
    assert "/home/someone" not in content and "hf_x" not in content and str(tmp_path) not in content
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "books").write_text("")
    values = {
        "sources": [Source("data/books", 0.5), {"path": tmp_path / "x"}],
        "data": ("../shared/x.parquet", "data/x.jsonl", "org/name", "data/books"),
        "prompts": ["/no_think", "a / b", "/think about it/"],
        "plain": [1, 0.5, None, True],
        "training": {"hub_token": "hf_x", "eos_token": "</s>"},
    }
    assert without_secrets(values) == {
        "sources": [{"path": "books", "weight": 0.5}, {"path": "x"}],
        "data": ["x.parquet", "x.jsonl", "org/name", "books"],
        "prompts": ["/no_think", "a / b", "/think about it/"],
        "plain": [1, 0.5, None, True],
        "training": {"eos_token": "</s>"},
    }
    assert hub_ids(["org/a", {"name": "org/b", "split": "train"}, "data/books", "org/a", Source("org/c", 1.0)]) == [
        "org/a",
        "org/b",
        "org/c",
    ]


def test_hardware(monkeypatch):
    assert describe_hardware("cpu", 2).startswith("2 x ") and " threads of " in describe_hardware("cpu")
    assert describe_hardware("mps") == "1 x mps"
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA H200")
    assert describe_hardware("cuda", 4) == "4 x NVIDIA H200"
    monkeypatch.setattr(run_environment, "CPU_INFO", "missing")
    assert " threads of " in describe_hardware("cpu")
    monkeypatch.setattr(run_environment, "LIBRARIES", ["torch", "not-installed-anywhere"])
    assert list(library_versions()) == ["c3", "Python", "torch"]
