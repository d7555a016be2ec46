"""Stages, objectives and parts in real runs of seconds. Run: pytest tests/training/test_stages.py"""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from c3 import C3Model
from c3.training.checks import RecipeError
from c3.training.devices.distributed import LaunchError
from c3.training.optim.parts import count_parameters, describe_parts, part_of, set_trainable
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run.checkpoints import COMPLETE, checkpoints, layout_of, mark_complete
from c3.training.run.dry_run import dry_run
from c3.training.run.full_disk import TrainingError
from c3.training.run.stages import train
from fresh_processes import run_fresh
from tiny_models import history

ROOT = Path(__file__).parents[2]
STAGES = [
    {
        "name": "align",
        "trainable": ["queries", "projector"],
        "optimizer": {"name": "adamw", "lr": 1e-2},
        "learning_rates": {"queries": 5e-2},
        "training": {"max_steps": 2},
    },
    {"name": "encoder", "trainable": ["encoder"], "training": {"max_steps": 2}},
    {
        "name": "all",
        "objectives": {"reconstruction": 1, "continuation": 1, "instruction": 1},
        "training": {"max_steps": 4},
    },
]


@pytest.fixture(scope="module")
def load_staged(training_folder):
    """Loads a recipe of three stages, the last with all objectives."""
    rows = [
        {"context": "the age of wisdom " * n, "messages": [{"role": "user", "content": "Which age?"}, answer]}
        for n in range(2, 30)
        for answer in [{"role": "assistant", "content": "Of wisdom."}]
    ]
    (training_folder / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    values = yaml.safe_load((training_folder / "recipe.yaml").read_text())
    # Muon's own keywords are not AdamW's.
    values |= {"optimizer": {"name": "muon", "lr": 0.003}, "instruction_data": str(training_folder / "chat.jsonl")}
    values |= {"stages": STAGES, "continuation_length": 8}
    values["training"] |= {"eval_strategy": "no", "save_steps": 1}
    del values["evaluation"], values["validation_data"]
    path = training_folder / "stages.yaml"
    path.write_text(yaml.safe_dump(values))
    return lambda name, *overrides: load_recipe(path, [f"output_dir={training_folder / name}", *overrides])


@pytest.fixture(scope="module")
def staged(load_staged):
    recipe = load_staged("staged")
    train(recipe)
    return Path(recipe.output_dir)


def changed_parts(before, after):
    """Names of the parts of which any parameter differs between two folders."""
    ours, theirs = (C3Model.from_pretrained(folder) for folder in (before, after))
    pairs = zip(ours.named_parameters(), theirs.parameters(), strict=True)
    return {part_of(name, p, ours) for (name, p), other in pairs if not torch.equal(p, other)}


def test_each_stage_changes_its_parts_only(staged):
    align, encoder, everything = (staged / name for name in ("1-align", "2-encoder", "3-all"))
    start = align / "checkpoint-1"
    assert changed_parts(start, align / "finished") == {"queries", "projector"}
    assert changed_parts(align / "finished", encoder / "finished") == {"encoder"}
    assert changed_parts(encoder / "finished", everything / "checkpoint-4") == {
        "encoder",
        "queries",
        "projector",
        "decoder",
    }
    assert C3Model.from_pretrained(align / "finished").dtype == torch.float32
    final = C3Model.from_pretrained(staged / "final")
    assert final.dtype == torch.bfloat16
    # The last stage asked other things too.
    assert not final.config.reconstruction_only
    assert C3Model.from_pretrained(encoder / "finished").config.reconstruction_only


def test_the_log_names_the_stages(staged):
    entries = json.loads((staged / "log_history.json").read_text())
    steps = [(entry["stage"], entry["step"]) for entry in entries if "loss" in entry]
    assert steps == [("1-align", 1), ("1-align", 2), ("2-encoder", 1), ("2-encoder", 2)] + [
        ("3-all", step) for step in range(1, 5)
    ]


def test_a_run_stopped_between_stages_goes_on_with_the_next(staged, load_staged, capsys):
    recipe = load_staged("stopped")
    output = Path(recipe.output_dir)
    # As if it had been killed in the second stage: its first checkpoint is whole, its end is not written.
    shutil.copytree(staged / "1-align", output / "1-align")
    shutil.copytree(staged / "2-encoder" / "checkpoint-1", output / "2-encoder" / "checkpoint-1")
    train(recipe)
    errors = capsys.readouterr().err
    assert "Stage 1-align was finished before." in errors
    assert "Stage 2 of 3: 2-encoder" in errors
    for stage in ("2-encoder", "3-all"):
        assert history(output / stage) == history(staged / stage)
    ours, theirs = (load_file(each / "final" / "model.safetensors") for each in (output, staged))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("run", [train, dry_run])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("curriculum: [{until: 1, windows: [64], ratios: [2, 4]}]", "windows of 64 tokens are above the model's"),
        ("dropout_windows: 0.5", "dropout_windows needs a model with use_mask_embedding: true"),
    ],
)
def test_a_later_stage_that_the_checkpoint_cannot_take(changes, message, run, load_training, make_model, tmp_path):
    make_model(use_mask_embedding=False).save_pretrained(tmp_path / "start")
    start = [f"init_from={tmp_path / 'start'}", "model={}", "tokenizer=null", "dropout_windows=0"]
    recipe = load_training("later", *start, f"stages=[{{name: first}}, {{name: second, {changes}}}]")
    with pytest.raises(RecipeError, match=("^stages: second: .*" if run is train else "") + message):
        run(recipe)
    assert not (Path(recipe.output_dir) / "1-first").exists()


def test_streamed_runs_resume_too(load_training, training_folder):
    def load(name, *overrides):
        values = yaml.safe_load((training_folder / "recipe.yaml").read_text())
        values["train_data"] = [{"path": values["train_data"], "streaming": True, "weight": 1.0}]
        # A tokenizer and model that are there already.
        for key in ("model", "tokenizer", "evaluation", "validation_data"):
            del values[key]
        values["init_from"] = str(training_folder / "first" / "final")
        values["training"] |= {"eval_strategy": "no", "max_steps": 6}
        path = training_folder / "streamed.yaml"
        path.write_text(yaml.safe_dump(values))
        return load_recipe(path, [f"output_dir={training_folder / name}", *overrides])

    train(load_training("first", "training.max_steps=1", "training.eval_strategy=no"))
    train(load("streamed"))
    straight = training_folder / "streamed"
    stopped = training_folder / "streamed and stopped"
    shutil.copytree(straight / "checkpoint-4", stopped / "checkpoint-4")
    train(load("streamed and stopped"))
    assert history(stopped) == history(straight) and len(history(straight)) == 6


def test_early_stopping(load_training):
    """A learning rate of nothing: precision never gets better than at first."""
    recipe = load_training(
        "early",
        "optimizer={name: adamw, lr: 1.0e-12}",
        "early_stopping_patience=2",
        "training.eval_steps=1",
        "training.save_steps=1",
        "training.max_steps=30",
    )
    train(recipe)
    assert max(history(Path(recipe.output_dir))) == 3


@pytest.fixture
def precisions(monkeypatch):
    """`precisions(0.5, 0.4, …)` are what the next evaluations find."""

    def find(*values):
        found = iter(values)
        measure = lambda model, texts, ratios: dict.fromkeys(ratios, next(found))  # noqa: E731
        monkeypatch.setattr("c3.training.run.trainer.shared_precision", measure)

    return find


EACH_STEP = ["training.eval_steps=1", "training.save_steps=1"]
LORA = ["lora={r: 4}", "optimizer={name: adamw, lr: 0.01}"]


@pytest.mark.parametrize("extra", [[], LORA], ids=["whole", "lora"])
def test_early_stopping_survives_a_kill_and_ends_with_the_best(extra, load_training, precisions):
    kind = "lora" if extra else "whole"

    def load(name):
        return load_training(f"patience {name} {kind}", "early_stopping_patience=2", *EACH_STEP, *extra)

    straight, killed = Path(load("straight").output_dir), Path(load("killed").output_dir)
    precisions(0.5, 0.4, 0.3)
    train(load("straight"))
    assert max(history(straight)) == 3
    file = "adapter_model.safetensors" if extra else "model.safetensors"
    best, newest = (load_file(straight / f"checkpoint-{step}" / file) for step in (1, 3))
    final = load_file(straight / "final" / file)
    for name, weight in final.items():
        assert torch.equal(weight, best[name].to(weight.dtype)), name
    assert any(not torch.equal(weight, newest[name].to(weight.dtype)) for name, weight in final.items())

    # Between the first and the second evaluation without a better one.
    for step in (1, 2):
        shutil.copytree(straight / f"checkpoint-{step}", killed / f"checkpoint-{step}")
    # What an older version, or a run without early stopping, did not write.
    last = killed / "checkpoint-2"
    state = json.loads((last / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["EarlyStopping"]
    (last / "trainer_state.json").write_text(json.dumps(state))
    mark_complete(last, layout_of(last))
    precisions(0.3)
    train(load("killed"))
    assert history(killed) == history(straight)
    assert all(torch.equal(weight, final[name]) for name, weight in load_file(killed / "final" / file).items())

    # Started again it evaluates and trains no more.
    precisions()
    train(load("killed"))
    assert history(killed) == history(straight)

    weights = killed / "checkpoint-1" / file
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(TrainingError, match="checkpoint-1, is damaged .*has other contents.*: set training.load_best"):
        train(load("killed"))
    shutil.rmtree(killed / "checkpoint-1")
    with pytest.raises(TrainingError, match="The best model so far was .*checkpoint-1, which is not there: bring it"):
        train(load("killed"))


def test_the_best_checkpoint_of_a_relative_folder_is_kept(load_training, training_folder, precisions, monkeypatch):
    monkeypatch.chdir(training_folder)
    precisions(0.5, 0.4, 0.3)
    options = ["output_dir=./relative", "training.max_steps=3", "training.save_total_limit=1"]
    train(load_training("", *options, *EACH_STEP))
    assert [each.name for each in checkpoints("relative")] == ["checkpoint-1", "checkpoint-3"]


def test_metrics_are_written_as_they_come(load_training, training_folder):
    recipe = load_training("metrics", "training.max_steps=4", "training.save_steps=3")
    output = Path(recipe.output_dir)
    train(recipe)
    lines = (output / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads((output / "log_history.json").read_text())
    # Resumed from step 3: what came after it is dropped, and comes again.
    shutil.rmtree(output / "checkpoint-4")
    train(recipe)
    steps = [json.loads(line)["step"] for line in (output / "metrics.jsonl").read_text().splitlines() if "loss" in line]
    assert steps.count(4) <= 2 and steps == sorted(steps)


def test_tensorboard(load_training):
    recipe = load_training(
        "board", "training.max_steps=2", "training.eval_strategy=no", "training.report_to=tensorboard"
    )
    train(recipe)
    assert list(Path(recipe.output_dir).rglob("events.out.tfevents.*"))


DISK_FULL = """
import resource, runpy, sys
from c3.training.run import stages as run, trainer

save, finish = trainer.Trainer._save_checkpoint, run.finish

def fill():
    # Files of more than 50 kB cannot be written, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

def save_with_little_room(self, *args, **kwargs):
    if self.state.global_step == 4:
        fill()
    save(self, *args, **kwargs)

def finish_with_little_room(*args):
    fill()
    return finish(*args)

if sys.argv[1] == "final":
    run.finish = finish_with_little_room
else:
    trainer.Trainer._save_checkpoint = save_with_little_room
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
@pytest.mark.parametrize(("what", "kept"), [("checkpoint-4", 2), ("final", 4)])
def test_a_full_disk(what, kept, training_folder):
    output = training_folder / f"full {what}"
    command = [what, ROOT / "train_hf.py", training_folder / "recipe.yaml"]
    command += [f"output_dir={output}", "training.eval_strategy=no", "training.max_steps=4"]
    variables = os.environ | {"HF_DATASETS_CACHE": str(training_folder / "cache"), "HF_HUB_OFFLINE": "1"}
    run = run_fresh(DISK_FULL, *command, variables=variables)
    assert run.returncode == 1, run.stderr
    message = run.stderr.splitlines()[-1]
    assert message.startswith(f"train_hf.py: error: {output / what} could not be written: ")
    assert f"It was removed again. The last checkpoint is {output / f'checkpoint-{kept}'}. Make room" in message
    assert [each.name for each in checkpoints(output)] == [f"checkpoint-{step}" for step in range(2, kept + 1, 2)]
    assert not (output / what).exists()


@pytest.mark.parametrize(
    "place", ["c3.training.run.stages.write_card", "c3.training.run.metrics_log.MetricsLog.on_log"]
)
def test_a_full_disk_while_small_files_are_written(place, load_training, monkeypatch):
    def raises(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", "small file")

    monkeypatch.setattr(place, raises)
    recipe = load_training(f"full {place}", "training.max_steps=1", "training.eval_strategy=no")
    with pytest.raises(TrainingError, match="^small file could not be written: .*No space left.* Make room"):
        train(recipe)


def test_a_damaged_checkpoint_is_set_aside(load_training, capsys):
    recipe = load_training("damaged", "training.max_steps=4", "training.save_steps=1")
    output = Path(recipe.output_dir)
    train(recipe)
    before = history(output)
    newest = output / "checkpoint-4"
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-10] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    train(recipe)
    errors = capsys.readouterr().err
    assert f"{newest} is damaged (model.safetensors has other contents than were written)" in errors
    assert "set aside as damaged-checkpoint-4; looking for an older one" in errors
    assert (output / "damaged-checkpoint-4" / COMPLETE).is_file()
    assert [each.name for each in checkpoints(output)][-1] == "checkpoint-4"
    assert history(output) == before


def test_a_checkpoint_of_other_batches_is_refused(load_training):
    """Two micro-batches to a step instead of one: the data would be others from there on."""
    recipe = load_training("layout", "training.max_steps=2", "training.eval_strategy=no")
    train(recipe)
    other = load_training(
        "layout", "training.max_steps=2", "training.eval_strategy=no", "training.gradient_accumulation_steps=2"
    )
    message = "checkpoint-2 was written by 1 processes with gradient_accumulation_steps 1, but now there are 1 with 2"
    with pytest.raises(LaunchError, match=message):
        train(other)


def test_parts(make_model):
    model = make_model("uniform", tie_word_embeddings=True)
    set_trainable(model, ["encoder", "queries"])
    counts = count_parameters(model)
    assert sum(total for total, _ in counts.values()) == sum(p.numel() for p in model.parameters())
    assert counts["decoder"][1] == counts["projector"][1] == 0
    # The shared embedding table is the decoder's.
    assert not model.encoder.embed_tokens.weight.requires_grad
    assert all(p.requires_grad for p in model.encoder.layers.parameters())
    assert describe_parts(model).startswith("Training 0.0") and "decoder" not in describe_parts(model)


def test_dry_run(load_staged, load_training, capsys):
    report = dry_run(load_staged("dry"), num_devices=2)
    assert report.count("=====") == 6
    assert "max_steps: 4" in report and "name: adamw" in report
    assert "256 text tokens per step (128 x 2 micro-batches), 2 steps, 512 tokens in all" in report
    assert "on each of 2 devices, without ZeRO (weights" in report
    assert "<query>" in report and "<latent>" in report and "labels             [-100" in report
    one = dry_run(load_training("dry2"))
    model_size = sum(p.numel() for p in C3Model(load_training("dry2").model_config(300)).parameters())
    assert f"total      {model_size:>14,} {model_size:>14,}" in one
    assert not list(Path(load_training("dry2").output_dir).glob("checkpoint-*"))


def test_dry_run_of_a_checkpoint(load_training, checkpoint):
    """Its classes are known: nobody is asked whether to trust remote code."""
    options = ["model={}", "tokenizer=null", f"init_from={checkpoint}", "evaluation={}", "validation_data=[]"]
    script = "import sys; from c3.training.recipe.recipe_file import load_recipe\n"
    script += "from c3.training.run.dry_run import dry_run\n"
    script += "print(dry_run(load_recipe(sys.argv[1], sys.argv[2:])))"
    recipe = load_training("dry3").output_dir
    result = run_fresh(script, Path(recipe).parent / "recipe.yaml", *options, "training.eval_strategy=no")
    assert result.returncode == 0, result.stderr
    assert "custom code" not in result.stdout + result.stderr and "labels" in result.stdout
