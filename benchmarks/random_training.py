"""A trainer on random text, for benchmarks of training: neither weights nor data change how long a step takes."""

import json
import platform
from pathlib import Path

import numpy as np
import torch
import transformers

from c3.support.loading import PACKAGE
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run.stages import make_trainer
from c3.training.run.trainer import C3Trainer

# Goes on from the default checkpoint, which is the package's own folder.
DEFAULT_RECIPE = PACKAGE / "configs" / "c3_mini_longer.yaml"
# Documents, and words of each.
DOCUMENTS, WORDS = 400, 2000


def random_trainer(recipe_path, folder, steps, overrides=(), trainer_class=C3Trainer):
    """The [`C3Trainer`] of `random_recipe`, which has its arguments; `trainer_class` (`type`) is made of it."""
    return make_trainer(random_recipe(recipe_path, folder, steps, overrides), trainer_class=trainer_class)


def random_recipe(recipe_path, folder, steps, overrides=()):
    """
    The [`Recipe`] of a file for random text, on CUDA where there is a GPU, that neither evaluates nor saves.

    Args:
        recipe_path (`str` or `Path`): of the recipe.
        folder (`Path`): of what is written.
        steps (`int`): of the run.
        overrides (`Sequence[str]`): of the recipe, `key=value`; they come last.

    Raises:
        RecipeError: as for training.
    """
    data = folder / "random.jsonl"
    if not data.exists():
        _write_random_text(data)
    options = [
        f"output_dir={folder}/run",
        f"train_data={data}",
        "validation_data=[]",
        "evaluation={}",
        "training.eval_strategy='no'",
        "training.save_strategy='no'",
        f"training.max_steps={steps}",
        f"training.use_cpu={'false' if torch.cuda.is_available() else 'true'}",
        "training.disable_tqdm=true",
        # Windows of random text are made faster than a worker hands them over.
        "training.dataloader_num_workers=0",
    ]
    if Path(recipe_path) == DEFAULT_RECIPE:
        options.append(f"init_from={PACKAGE}")
    return load_recipe(recipe_path, [*options, *overrides])


def wait_for(device):
    """Waits until a `torch.device` has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_facts(recipe_path, overrides, steps):
    """`dict`: what the figures of a training benchmark belong to."""
    return {
        "steps": steps,
        "recipe": Path(recipe_path).name,
        "overrides": list(overrides),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _write_random_text(path):
    """Documents of random words, enough for any number of steps."""
    rng = np.random.default_rng(0)
    words = ["".join(chr(97 + i) for i in rng.integers(26, size=size)) for size in rng.integers(2, 10, size=20000)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(DOCUMENTS):
            file.write(json.dumps({"text": " ".join(rng.choice(words, size=WORDS))}) + "\n")
