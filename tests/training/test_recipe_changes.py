"""A run that is started again with another recipe. Run: pytest tests/training/test_recipe_changes.py"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from c3.training.checks import RecipeError
from c3.training.recipe.recipe_changes import check_recipe_changes, recipe_notes
from c3.training.run.checkpoints import COMPLETE, layout_of, mark_complete
from c3.training.run.stages import train
from tiny_models import history

NO_EVALUATION = "training.eval_strategy=no"
CONSTANT = ["training.lr_scheduler_type=constant", "curriculum=[{until: 1.0, windows: [16], ratios: [2, 4]}]"]
# The recipe's own.
PHASES = [{"until": 0.5, "windows": [16], "ratios": [2, 4]}, {"until": 1.0, "windows": [16, 32], "ratios": [2, 8]}]
STABLE = [
    "training.lr_scheduler_type=warmup_stable_decay",
    "training.lr_scheduler_kwargs={num_decay_steps: 3}",
    CONSTANT[1],
]


@pytest.fixture
def check(load_training):
    """`check(then, now, step=4)`: lists of overrides; what is said where the second goes on from the first's step."""

    def check(then, now, step=4, finished=False, processes=1):
        said = []
        notes = recipe_notes(load_training("changes", *then))
        layout = {"processes": processes, "gradient_accumulation_steps": 1, "recipe": notes}
        recipe = load_training("changes", *now)
        check_recipe_changes(f"runs/checkpoint-{step}", layout, recipe, said.append, finished)
        return said

    return check


def test_checkpoints_from_before_a_key_are_gone_on_from(load_training):
    recipe = load_training("changes")
    notes = recipe_notes(recipe)
    assert "keep" not in notes["train_data"][0]
    for key in ("crlf_documents", "dropout_halved_above"):
        del notes[key]
    for phase in notes["curriculum"]:
        assert phase.pop("longest_context") is None
    notes["optimizer"] |= {"block_size": None}  # an option that is no more, not given then
    said = []
    check_recipe_changes("runs/checkpoint-4", {"recipe": notes}, recipe, said.append)
    assert said == []
    adapted = load_training("changes", "lora={r: 2}", "dropout_windows=0")
    older = recipe_notes(adapted)
    assert not older["lora"].pop("train_norms") and older["lora"].pop("init_from") is None
    check_recipe_changes("runs/checkpoint-4", {"recipe": older}, adapted, said.append)
    assert said == []
    changed = load_training("changes", "crlf_documents=0.5")
    with pytest.raises(RecipeError, match="crlf_documents: 0.0 then, 0.5 now"):
        check_recipe_changes("runs/checkpoint-4", {"recipe": notes}, changed, said.append)
    notes["optimizer"]["block_size"] = 64
    with pytest.raises(RecipeError, match="optimizer"):
        check_recipe_changes("runs/checkpoint-4", {"recipe": notes}, recipe, said.append)


def test_what_makes_no_difference(check):
    assert check([], []) == []
    for now in (
        ["training.save_steps=3", "training.logging_steps=2", "training.report_to=tensorboard"],
        ["evaluation.windows=1", "training.eval_steps=2"],
        ["optimizer.ns_steps=5", "optimizer.betas=[0.9, 0.95]", "training.max_grad_norm=1.0"],
        ["objectives={reconstruction: 1.0, continuation: 0}"],
        [f"curriculum={json.dumps(PHASES)}"],
    ):
        assert check([], now) == []
    assert check([], ["attn_implementation=eager"]) == [
        'attn_implementation: null then, "eager" now: from here on the losses may differ by rounding.'
    ]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("tokens_per_batch=64", "tokens_per_batch: 128 then, 64 now"),
        ("training.seed=7", "training.seed: 42 then, 7 now"),
        ("training.lr_scheduler_type=linear", 'training.lr_scheduler_type: "cosine" then, "linear" now'),
        ("objectives={reconstruction: 1, continuation: 1}", "objectives: "),
        ("curriculum=[{until: 1.0, windows: [16], ratios: [2, 4]}]", r"\(curriculum\)"),
        (f"curriculum={json.dumps(PHASES[:1] + [PHASES[1] | {'longest_context': 99}])}", r"\(curriculum\)"),
        ("optimizer.lr=0.004", r"\(optimizer\)"),
        ("model.num_latents=16", r"\(model\)"),
        ("trainable=[decoder]", "trainable: "),
        ("crlf_documents=0.5", "crlf_documents: 0.0 then, 0.5 now"),
        ("dropout_halved_above=16", "dropout_halved_above: null then, 16 now"),
        ("training.max_steps=16", "training.max_steps: 8 then, 16 now"),
    ],
)
def test_what_would_change_the_losses(now, said, check):
    message = rf"^runs/checkpoint-4 was written by another recipe .*{said}.* or choose another output_dir, with "
    with pytest.raises(RecipeError, match=message + "init_from: runs/checkpoint-4"):
        check([], [now])
    with pytest.raises(RecipeError, match="was written by another recipe"):
        check([now], [])


def test_data_that_were_moved_are_the_same_and_longer_ones_are_not(check, training_folder, tmp_path):
    moved = tmp_path / "train.jsonl"
    moved.write_bytes((training_folder / "train.jsonl").read_bytes())
    assert check([], [f"train_data={moved}"]) == []
    with pytest.raises(RecipeError, match="train_data"):
        check([], [f"train_data={{path: {moved}, keep: 0.5}}"])
    moved.write_bytes(moved.read_bytes() + b'{"text": "more"}\n')
    with pytest.raises(RecipeError, match="train_data"):
        check([], [f"train_data={moved}"])


@pytest.mark.parametrize(
    ("overrides", "step", "lengths", "sane"),
    [
        (CONSTANT, 4, (8, 16), True),
        (CONSTANT, 8, (8, 16), True),
        (CONSTANT, 4, (8, 4), True),
        (CONSTANT, 8, (8, 4), False),
        # Before the decay, a longer plateau is nothing new; afterwards the rate has come down already.
        (STABLE, 4, (8, 16), True),
        (STABLE, 7, (8, 16), False),
        # The recipe's two phases: the first, which ends at step 4, or 8.
        (CONSTANT[:1], 4, (8, 16), True),
        (CONSTANT[:1], 5, (8, 16), False),
        # Warming up over a share of the steps.
        (
            [*CONSTANT, "training.lr_scheduler_type=constant_with_warmup", "training.warmup_steps=0.5"],
            4,
            (8, 16),
            False,
        ),
        ([CONSTANT[1]], 4, (8, 16), False),  # cosine
    ],
)
@pytest.mark.parametrize("processes", [1, 3])
def test_more_or_fewer_steps(overrides, step, lengths, sane, processes, check):
    then, now = ([*overrides, f"training.max_steps={length}"] for length in lengths)
    if sane:
        assert check(then, now, step, processes=processes) == [
            f"training.max_steps: {lengths[0]} then, {lengths[1]} now: the steps so far are the same with both, so the "
            "run goes on."
        ]
    else:
        with pytest.raises(RecipeError, match=f"training.max_steps: {lengths[0]} then, {lengths[1]} now"):
            check(then, now, step, processes=processes)
    with pytest.raises(RecipeError, match="training.max_steps"):
        check(then, now, step, finished=True)


def test_a_run_that_is_made_longer(load_training, capsys):
    """It ends as one that was to be so long from the start; from a checkpoint without notes, nothing is asked."""
    short = load_training("short", NO_EVALUATION, *CONSTANT, "training.max_steps=2")
    train(short)
    output = Path(short.output_dir)
    with pytest.raises(RecipeError, match="checkpoint-2 was written by another recipe .training.seed: 42 then, 1 now"):
        train(replace(short, training=short.training | {"seed": 1}))
    longer = replace(short, training=short.training | {"max_steps": 4})
    train(longer)
    assert "training.max_steps: 2 then, 4 now: the steps so far are the same" in capsys.readouterr().err
    straight = replace(longer, output_dir=str(output.with_name("long")))
    train(straight)
    assert history(output) == history(Path(straight.output_dir))

    last = output / "checkpoint-4"
    layout = layout_of(last)
    assert json.loads((last / COMPLETE).read_text())["layout"]["recipe"]["tokens_per_batch"] == 128
    del layout["recipe"]
    mark_complete(last, layout)
    train(replace(longer, training=longer.training | {"seed": 1}))
