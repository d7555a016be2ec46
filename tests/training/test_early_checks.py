"""What would end a run after minutes is refused before it reads its data, and by --dry-run as well."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from c3.training.checks import RecipeError
from c3.training.devices.distributed import LaunchError
from c3.training.recipe.recipe_changes import recipe_notes
from c3.training.run import early_checks
from c3.training.run.checkpoints import mark_complete
from c3.training.run.dry_run import dry_run
from c3.training.run.stages import train
from image_models import TOWERS

UNUSABLE = '{"context": "text", "messages": [{"role": "assistant", "content": "x"}]}\n'
STAGES = "stages=[{name: first, training: {max_steps: 1}}, {name: second, %s}]"
# Of the encoder, which then has no matrices for Muon.
WITHOUT_LAYERS = "model.encoder_config.num_hidden_layers=0"
NOTHING_FOR_MUON = "Muon needs trainable matrices inside `layers`, and found none; use another optimizer"


@pytest.fixture(params=[train, dry_run])
def run(request, monkeypatch):
    """A run that may not read its texts, or a dry run."""
    if request.param is train:
        monkeypatch.setattr("c3.training.data.corpus.TokenStream", lambda *args, **kwargs: pytest.fail("reads texts"))
    return request.param


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation={ratios: [2], windows: 2, window: 5000}"], "no document of validation_data has 5000 tokens"),
        ([WITHOUT_LAYERS, "trainable=[encoder]"], NOTHING_FOR_MUON),
    ],
)
def test_evaluation_and_optimizer(overrides, message, run, load_training):
    with pytest.raises(RecipeError, match=message):
        run(load_training("early_checks", *overrides))


def test_a_checkpoint_of_another_recipe_or_of_other_processes(run, load_training):
    recipe = load_training("written")
    folder = Path(recipe.output_dir) / "checkpoint-2"
    layout = {"processes": 1, "gradient_accumulation_steps": 1, "recipe": recipe_notes(recipe)}
    for changed, error, message in (
        (layout | {"processes": 3}, LaunchError, "was written by 3 processes with gradient_accumulation_steps 1, but"),
        (layout | {"recipe": layout["recipe"] | {"tokens_per_batch": 64}}, RecipeError, "tokens_per_batch: 64 then"),
    ):
        folder.mkdir(parents=True)
        mark_complete(folder, changed)
        with pytest.raises(error, match=message):
            run(recipe)
        shutil.rmtree(folder)


def test_a_font_that_is_not_there(run, training_folder, load_training):
    """Pictures would be drawn with it when the texts are tokenized."""
    model = yaml.safe_load((training_folder / "recipe.yaml").read_text())["model"]
    model |= {"context_modality": "image", "pooling": "patches", "encoder_config": TOWERS["siglip_vision_model"]}
    model |= {"context_picture": {"font": "gone.ttf"}, "tie_word_embeddings": False}
    with pytest.raises(RecipeError, match=r"There is no font file gone\.ttf"):
        run(load_training("without_font", f"model={json.dumps(model)}"))


def test_an_adapter_is_merged_first(run, load_training, adapter):
    """With it a run would end when it is to be saved."""
    with pytest.raises(RecipeError, match=f"init_from: {adapter} cannot be loaded: it is an adapter: merge it into"):
        run(load_training("adapted", f"init_from={adapter}", "model={}", "tokenizer=null", "dropout_windows=0"))


def test_output_folders_that_cannot_be_written_to(run, load_training):
    with pytest.raises(RecipeError, match="output_dir: .*train.jsonl is a file; choose another folder"):
        run(load_training("train.jsonl/below"))
    with pytest.raises(RecipeError, match=r"output_dir: /proc cannot be written to \(No such file or directory\)"):
        run(load_training("new", "output_dir=/proc/new/below"))  # where not even root can


def test_any_folder_may_stand_beside_the_output(tmp_path):
    """Such as a clone of this repository."""
    for name in ("c3", "runs"):
        (tmp_path / name).mkdir()
    early_checks.check_output_dir(str(tmp_path / "new"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c3", "runs"]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["tokenizer=org/none"], "tokenizer: org/none cannot be loaded: there is no folder"),
        (["model={}", "tokenizer=null", "init_from=none"], "init_from: none cannot be loaded: there is no folder"),
        (["train_data=none"], "train_data: none cannot be loaded: there is no file"),
        (["validation_data=org/none"], "validation_data: org/none cannot be loaded: there is no file"),
    ],
)
def test_a_hub_that_does_not_answer(overrides, named, run, load_training, monkeypatch, tmp_path):
    """One line, at once; what is in a cache is taken from there."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(RecipeError, match=f"^{named} .*none, and the Hub, http://127.0.0.1:9, does not answer"):
        run(load_training("hub", *overrides))
    (tmp_path / "org___old_texts").mkdir()
    early_checks.check_hub(load_training("hub", "train_data=org/OldTexts"))


@pytest.mark.parametrize("run", [train, dry_run])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("tokens_per_batch: 100000", r"The train data hold \d+ tokens, but a batch takes 100000"),
        ("objectives: {instruction: 1}", "no row can be trained on"),
        ("trainable: [encoder]", NOTHING_FOR_MUON),
    ],
)
def test_later_stages(changes, message, run, load_training, tmp_path):
    """Nothing is trained where one of them cannot be."""
    (tmp_path / "conversations.jsonl").write_text(UNUSABLE)
    data = f"instruction_data={tmp_path / 'conversations.jsonl'}"
    recipe = load_training(f"later-{run.__name__}", STAGES % changes, data, WITHOUT_LAYERS)
    with pytest.raises(RecipeError, match=message):
        run(recipe)
    assert not list(Path(recipe.output_dir).rglob("checkpoint-*"))


def test_later_stages_that_take_fewer_of_the_rows(run, load_training, tmp_path):
    """The first has enough of them, but is not trained."""
    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This."}]
    row = json.dumps({"context": "It was the best of times. " * 20, "messages": turns})
    (tmp_path / "conversations.jsonl").write_text(row)
    data = [f"instruction_data={tmp_path / 'conversations.jsonl'}", "objectives={instruction: 1}"]
    phase = "curriculum: [{until: 1, windows: [16], ratios: [2, 2], longest_context: 9}]"
    options = [*data, "max_context_length=9999"]
    recipe = load_training(f"shorter-{run.__name__}", STAGES % phase, *options)
    with pytest.raises(RecipeError, match="instruction data with contexts of at most 9 tokens hold 0 tokens, but a"):
        run(recipe)
    assert not list(Path(recipe.output_dir).rglob("checkpoint-*"))


def test_trackers_and_compilers(load_training, monkeypatch):
    with pytest.raises(RecipeError, match="training.report_to must be of .*tensorboard.*, all or none, not"):
        load_training("tracked", "training.report_to=tensorbord")
    monkeypatch.setattr(
        "c3.training.recipe.training_keys.get_available_reporting_integrations", lambda: ["tensorboard"]
    )
    assert load_training("tracked", "training.report_to=[tensorboard]").training["report_to"] == ["tensorboard"]
    with pytest.raises(RecipeError, match="training.report_to: wandb is not installed"):
        load_training("tracked", "training.report_to=wandb")
    monkeypatch.setattr(early_checks.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RecipeError, match="torch_compile needs a C.. compiler"):
        train(load_training("compiled", "torch_compile=true"))
