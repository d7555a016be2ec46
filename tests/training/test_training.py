"""Real training runs of seconds, killed and resumed ones among them. Run: pytest tests/training/test_training.py"""

import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.data_loader import BatchSamplerShard
from safetensors.torch import load_file

from c3 import C3Model, train_hf
from c3.support import allocator as allocator_c3
from c3.training.checks import RecipeError
from c3.training.command import train_command
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.pools import BatchPool
from c3.training.data.sampler import CurriculumSampler
from c3.training.data.validation import validation_windows
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run.build import build
from c3.training.run.checkpoints import COMPLETE, checkpoints, last_whole_checkpoint
from c3.training.run.dry_run import dry_run
from c3.training.run.full_disk import TrainingError
from c3.training.run.stages import make_trainer, train
from c3.training.run.trainer import C3Trainer
from fresh_processes import run_fresh
from tiny_models import TEXTS, TRAINING_STEPS, history

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def straight(load_training):
    """The output folder of a run without interruption."""
    recipe = load_training("straight")
    assert train(recipe) == Path(recipe.output_dir) / "final"
    return Path(recipe.output_dir)


def test_losses_and_precisions_are_logged(straight):
    losses = history(straight)
    assert list(losses) == list(range(1, TRAINING_STEPS + 1))
    assert all(0 < loss < 10 for loss in losses.values())
    assert losses[TRAINING_STEPS] < losses[1]
    assert all(0 <= padding < 0.3 for padding in history(straight, "padding").values())
    for ratio in (2, 4):
        precisions = history(straight, f"eval_precision_{ratio}x")
        assert list(precisions) == [4, 8]
        assert all(0 <= precision <= 1 for precision in precisions.values())
    assert (straight / "training_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_finished_model_loads_and_expands(straight):
    model = C3Model.from_pretrained(straight / "final")
    assert model.dtype == torch.bfloat16 and model.config.window == 32
    latents = model.compress(TEXTS, ratio=4)
    texts = model.expand(latents)
    assert len(texts) == len(TEXTS) and all(isinstance(text, str) for text in texts)
    lengths = [len(model.processor.encode(text)) for text in TEXTS]
    assert int(latents.text_lengths.sum()) == sum(lengths)


def test_the_last_two_checkpoints_are_kept_and_the_best(straight):
    precision = history(straight, "eval_precision")
    best = max(precision, key=precision.get)
    wanted = sorted({6, 8, best})
    assert [each.name for each in checkpoints(straight)] == [f"checkpoint-{step}" for step in wanted]
    assert last_whole_checkpoint(straight) == str(straight / "checkpoint-8")
    assert not checkpoints(straight / "missing")
    assert last_whole_checkpoint(straight / "missing") is None


# Kills itself when the model of checkpoint 6 is written and its optimizer is not.
KILLED = """
import os, runpy, signal, sys
from transformers import Trainer

save = Trainer._save_optimizer_and_scheduler

def save_or_die(trainer, folder):
    if trainer.state.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    save(trainer, folder)

Trainer._save_optimizer_and_scheduler = save_or_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_and_resumed_run_equals_a_straight_one(straight, training_folder, load_training, capsys):
    recipe = load_training("killed")
    output = Path(recipe.output_dir)
    command = [ROOT / "train_hf.py", training_folder / "recipe.yaml", f"output_dir={output}"]
    variables = os.environ | {"HF_DATASETS_CACHE": str(training_folder / "cache"), "HF_HUB_OFFLINE": "1"}
    killed = run_fresh(KILLED, *command, variables=variables)
    assert killed.returncode == -9, killed.stderr
    assert [each.name for each in checkpoints(output)] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert (output / "checkpoint-6" / "model.safetensors").is_file()
    assert last_whole_checkpoint(output) == str(output / "checkpoint-4")
    # A kill while an old checkpoint was being deleted leaves one without its mark, too.
    (output / "checkpoint-2" / COMPLETE).unlink()

    final = train(recipe)
    errors = capsys.readouterr().err
    assert f"Removing {output / 'checkpoint-2'}: it was not wholly written" in errors
    assert f"Removing {output / 'checkpoint-6'}: it was not wholly written" in errors
    for key in ("loss", "grad_norm", "learning_rate", "eval_precision_2x", "eval_precision_4x"):
        assert history(output, key) == history(straight, key), key
    ours, theirs = (load_file(each / "model.safetensors") for each in (final, straight / "final"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_started_again_only_writes_the_model(load_training, straight):
    before = history(straight)
    (straight / "final" / "model.safetensors").unlink()
    train(load_training("straight"))
    assert history(straight) == before
    assert (straight / "final" / "model.safetensors").is_file()


def test_going_on_from_a_model_with_other_settings(straight):
    """AdamW, gradient accumulation, attention for CPUs; nothing to evaluate."""
    values = yaml.safe_load((straight.parent / "recipe.yaml").read_text())
    for name in ("model", "tokenizer", "evaluation", "validation_data"):
        del values[name]
    values["training"] = {"max_steps": 2, "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}
    values["training"] |= {"gradient_accumulation_steps": 2, "save_strategy": "no"}
    path = straight.parent / "further.yaml"
    path.write_text(yaml.safe_dump(values | {"init_from": str(straight / "final")}))
    overrides = [f"output_dir={straight.parent / 'further'}", "attn_implementation=cpu_matmul"]
    recipe = load_recipe(path, [*overrides, "optimizer={name: adamw, lr: 1e-3, betas: [0.9, 0.95]}"])
    assert build(recipe).dtype == torch.float32
    output = train(recipe).parent
    assert list(history(output)) == [1, 2]
    assert history(output)[1] < history(straight)[1]
    assert not checkpoints(output)


@pytest.mark.parametrize("before", [True, False])
def test_the_config_says_what_the_weights_were_trained_for(before, load_training, straight, make_model, tmp_path):
    """Once a model was trained on another prompt it may be asked, and with a cache; other models stay what they are."""
    trained = C3Model.from_pretrained(straight / "final")
    assert trained.config.reconstruction_only and trained.generation_config.use_cache
    make_model(reconstruction_only=before).save_pretrained(tmp_path)
    start = [f"init_from={tmp_path}", "model={}", "tokenizer=null"]
    for objectives, only in (("{reconstruction: 2}", True), ("{reconstruction: 1, continuation: 1}", False)):
        model = build(load_training("says", *start, f"objectives={objectives}"))
        assert model.config.reconstruction_only == (before and only)
    assert not build(load_training("says", "objectives={continuation: 1}")).config.reconstruction_only
    assert not build(load_training("says", "model.reconstruction_only=false")).config.reconstruction_only


@pytest.fixture
def poisoned_loss(monkeypatch):
    """`poisoned_loss(function)` applies a function to the loss of the fourth step."""

    def poison(function):
        compute_loss = C3Trainer.compute_loss

        def poisoned(self, *args, **kwargs):
            loss = compute_loss(self, *args, **kwargs)
            return function(loss) if self.state.global_step == 3 else loss

        monkeypatch.setattr(C3Trainer, "compute_loss", poisoned)

    return poison


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(value, poisoned_loss, training_folder, capsys):
    poisoned_loss(lambda loss: loss * value)
    output = training_folder / f"poisoned {value}"
    with pytest.raises(SystemExit) as stop:
        train_hf.main([str(training_folder / "recipe.yaml"), f"output_dir={output}", "training.eval_steps=9"])
    assert stop.value.code == 1
    message = (
        f"train_hf.py: error: The loss is {value} at step 4 of 8. The last checkpoint is {output / 'checkpoint-2'}. "
    )
    assert message + "Start again in a new output_dir with a lower learning rate" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_not_saved(poisoned_loss, load_training):
    def poison(loss):
        loss.register_hook(lambda gradient: gradient * math.nan)
        return loss

    poisoned_loss(poison)
    recipe = load_training("poisoned weights", "training.eval_steps=9", "training.save_steps=4")
    with pytest.raises(TrainingError, match="no longer finite numbers after step 4. There is no checkpoint yet"):
        train(recipe)
    assert not checkpoints(recipe.output_dir)


def test_tokenizer_of_another_recipe_in_the_output_folder(straight, load_training):
    with pytest.raises(RecipeError, match='checkpoint-8 was written by another recipe .tokenizer: {"vocab_size": 300}'):
        train(load_training("straight", "tokenizer.vocab_size=310"))
    dry_run(load_training("tokenized"))
    with pytest.raises(RecipeError, match="tokenizer was trained with other options: choose another output_dir"):
        train(load_training("tokenized", "tokenizer.vocab_size=310"))


def test_no_document_is_long_enough_to_evaluate(load_training):
    with pytest.raises(RecipeError, match="no document of validation_data has 4000 tokens; take fewer"):
        train(load_training("too long", "evaluation.window=4000"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_step=3", "training: unknown key max_step; did you mean max_steps?"),
        ("train_data=missing.txt", "train_data: No such data file: missing.txt."),
        ("training.lr_scheduler_type=square", "training.lr_scheduler_type must be one of linear, "),
    ],
)
def test_bad_recipes_end_with_one_line(override, message, training_folder, capsys):
    with pytest.raises(SystemExit) as stop:
        train_hf.main([str(training_folder / "recipe.yaml"), override])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train_hf.py: error: {message}") and error.count("\n") == 1


def test_the_command_as_another_one_calls_it(training_folder, capsys):
    """Under its name, and it raises what that prints."""
    recipe = str(training_folder / "recipe.yaml")
    train_command([recipe, "--dry-run", "--devices", "2"], "c3 train")
    assert "on each of 2 devices" in capsys.readouterr().out
    for given, message in (
        ([recipe, "train_data=missing.txt"], "No such data file"),
        (["none.yaml"], "No such recipe"),
    ):
        with pytest.raises(RecipeError, match=message):
            train_command(given, "c3 train")
    with pytest.raises(SystemExit):
        train_command(["--help"], "c3 train")
    said = capsys.readouterr()
    assert said.out.startswith("usage: c3 train ") and "c3 train configs/c3_laptop.yaml" in said.out and not said.err


@pytest.mark.parametrize("given", [[], ["--dry-run"]])
def test_only_the_recipe_is_required(given, capsys):
    with pytest.raises(SystemExit):
        train_hf.main(given)
    assert capsys.readouterr().err.endswith(
        "error: the following arguments are required: recipe (see train_hf.py --help)\n"
    )


def test_windows_whose_cuts_go_through_characters_are_evaluated_on(load_training, make_model, tmp_path):
    (tmp_path / "chinese.txt").write_text("压缩文本为几个潜在向量" * 20, encoding="utf-8")
    recipe = load_training("chinese", f"validation_data={tmp_path / 'chinese.txt'}", "evaluation.window=25")
    [text] = validation_windows(recipe, make_model().processor)
    assert len(text) >= 7 and text in "压缩文本为几个潜在向量" * 20


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train_data={path: %s/train.jsonl, column: words}",
            "train_data: .*train.jsonl cannot be loaded: .* no column 'words'",
        ),
        (
            "validation_data={path: %s/train.jsonl, column: words}",
            "validation_data: .* no column 'words'; it has 'text'",
        ),
        ("tokens_per_batch=1000000", "The train data hold .* tokens, but a batch takes 1000000"),
        ("train_data={path: org/none, streaming: true}", "train_data: org/none cannot be loaded: "),
        ("tokenizer=org/none", "tokenizer: org/none cannot be loaded: "),
    ],
    ids=["column", "validation", "little text", "no dataset", "no tokenizer"],
)
def test_what_shows_only_once_it_is_loaded(override, message, training_folder, load_training, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    override = override.replace("%s", str(training_folder))
    extra = [f"tokenizer={training_folder / 'straight' / 'tokenizer'}"] if "streaming" in override else []
    with pytest.raises(RecipeError, match=message):
        train(load_training("unloadable", override, *extra))


def test_a_pair_that_cannot_be_loaded_is_named(load_training, tmp_path, monkeypatch):
    """In a run and in a dry run, where the Hub cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pair = "init_from_pair={encoder: org/small, decoder: org/large, use_mask_embedding: true}"
    recipe = load_training("pair", "model={}", "tokenizer=null", pair)
    for run in (train, dry_run):
        with pytest.raises(RecipeError, match="^init_from_pair.encoder: org/small cannot be loaded: "):
            run(recipe)


@pytest.mark.parametrize(
    ("instructions", "override", "warned"),
    [
        ({"avx512_f", "avx512_bf16"}, "training.bf16=true", False),
        ({"avx512_f", "avx512_bf16"}, "dtype=float16", True),
        ({"avx512_f"}, "training.bf16=true", True),
        ({"avx512_f"}, "training.bf16=auto", False),
    ],
)
def test_emulated_16_bit_products_are_warned_of(instructions, override, warned, load_training, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    make_trainer(load_training("emulated", override))
    assert ("This CPU emulates matrix products of" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("missing", ["accelerate", "xxhash", "c3.training.run.stages"])
def test_what_is_not_installed(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as stop:
        train_hf.main(["recipe.yaml"])
    assert stop.value.code == 2
    assert re.match(rf"train_hf.py: .*{missing}.*: pip install -e \.\[train\]\n", capsys.readouterr().err)


def test_c3_itself_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "c3.training.command", None)
    with pytest.raises(SystemExit, match=r"train_hf.py: .*c3.training.command.*: pip install -e \.\[train\]"):
        runpy.run_path(str(ROOT / "train_hf.py"))


def test_muon_under_fsdp_that_no_recipe_asked_for(load_training):
    trainer = make_trainer(load_training("fsdp"))
    trainer.is_fsdp_enabled = True
    with pytest.raises(RecipeError, match="optimizer.name: muon needs whole matrices, which FSDP cuts up"):
        trainer.create_optimizer()


def test_liger_kernel_on_a_cpu(load_training, monkeypatch):
    monkeypatch.setattr("c3.training.recipe.plain_keys.check_liger_kernel", lambda: None)
    recipe = load_training("liger", "liger_kernel=true")
    with pytest.raises(RecipeError, match="liger_kernel: its kernels need a GPU, and this run is on the CPU"):
        train(recipe)


def test_a_package_that_shows_to_be_missing_while_loading(load_training, monkeypatch):
    """Such as flash-attn for a model that does not take what `kernels` has."""

    def raises(*args, **kwargs):
        raise ImportError("flash_attn\nis not installed")

    monkeypatch.setattr(C3Model, "_from_config", raises)
    with pytest.raises(RecipeError, match="^model cannot be loaded: flash_attn is not installed$"):
        make_trainer(load_training("no package"))


def test_two_processes_share_the_batches():
    """As accelerate deals them out: to each its own, and together what one process would see."""
    blocks = np.array([[0, 16 * i, 16, 192] for i in range(12)])
    pool = BatchPool(blocks, blocks[:, 2], tokens_per_batch=32)
    sampler = CurriculumSampler(Curriculum([Phase(1.0, [8], [2, 4])], num_batches=10), [pool])
    shards = [list(BatchSamplerShard(sampler, 2, rank, even_batches=False)) for rank in range(2)]
    assert [batch for pair in zip(*shards, strict=True) for batch in pair] == list(sampler)


KEEPS_MEMORY = """
import os
from pathlib import Path
import torch
from c3.support.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

assert keep_freed_memory()
before = resident()
tensor = torch.ones(2**26)
during = resident()
del tensor
print(during - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or not os.confstr("CS_GNU_LIBC_VERSION"), reason="needs glibc")
def test_freed_memory_is_kept():
    """In a process of its own: what a tensor of 256 MB took stays when it is gone; otherwise it would be unmapped."""
    result = subprocess.run([sys.executable, "-c", KEEPS_MEMORY], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    taken, kept = map(int, result.stdout.split())
    assert taken > 2**27 and kept > taken - 2**24


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator_c3.sys, "platform", "darwin")
    assert allocator_c3.keep_freed_memory() is False
