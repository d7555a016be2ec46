"""The examples of docs/extending.md run as they stand. Run: pytest tests/test_extending.py"""

import json
import re
from pathlib import Path

import pytest
import yaml

from c3 import C3Model
from c3.context_modalities_c3 import CONTEXT_MODALITIES
from c3.eval.baselines import METHODS
from c3.eval.suites import SUITES
from c3.training.data.objectives import OBJECTIVES
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run.dry_run import dry_run
from c3.training.run.stages import train
from c3.window_decoding_c3 import DECODING_METHODS
from tiny_models import TEXTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "extending.md"
REGISTRIES = (CONTEXT_MODALITIES, OBJECTIVES, SUITES, METHODS, DECODING_METHODS)


def code_of_sections():
    """The Python of each section, `dict[str, str]`, by its heading."""
    _, *sections = re.split(r"^## (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        heading: "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }


@pytest.fixture
def run(tokenizer, checkpoint, training_folder, tmp_path, monkeypatch):
    """Runs code in a folder with what the document speaks of; afterwards the registries are as before."""
    for registry in REGISTRIES:
        before = dict(registry)
        for name in before:
            monkeypatch.setitem(registry, name, before[name])
    kept = [dict(registry) for registry in REGISTRIES]
    for path in filter(Path.is_file, training_folder.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    recipe = (training_folder / "recipe.yaml").read_text().replace(str(training_folder), str(tmp_path))
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "pages.jsonl").write_text("\n".join(json.dumps({"text": f"{each} 42"}) for each in TEXTS))
    monkeypatch.chdir(tmp_path)
    # The command line would take the checkpoint that comes with c3.
    monkeypatch.setattr("c3.support.loading.PACKAGE", checkpoint)
    names = {"tokenizer": tokenizer}

    def execute(code):
        exec(compile(code, str(DOCUMENT), "exec"), names)
        return names

    yield execute
    for registry, content in zip(REGISTRIES, kept, strict=True):
        registry.clear()
        registry.update(content)


def train_two_steps(folder, config):
    """The trainer knows nothing of what the encoder reads."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["model"] |= {"context_modality": "picture", "pooling": "mean", "tie_word_embeddings": False}
    recipe["model"]["encoder_config"] = config.encoder_config.to_diff_dict()
    recipe["training"] |= {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no"}
    recipe |= {"output_dir": str(folder / "pictured")}
    (folder / "pictures.yaml").write_text(yaml.safe_dump(recipe))
    recipe = load_recipe(folder / "pictures.yaml", [])
    assert "context_pixel_values (1, 3, 64, 64)" in dry_run(recipe)
    trained = C3Model.from_pretrained(train(recipe))
    assert trained.encoder.config.model_type == "siglip_vision_model"


def test_the_examples_run(run, capsys, tmp_path):
    """In the order of the document: later ones use what earlier ones have made."""
    sections = code_of_sections()
    assert len(sections) == 5 and all(sections.values())
    names = {}
    for heading, code in sections.items():
        names = run(code)
        if heading == "A new kind of context":
            assert names["latents"].num_windows > 1 and isinstance(capsys.readouterr().out, str)
            names["model"].save_pretrained(tmp_path / "pictures")
            loaded = names["C3Model"].from_pretrained(tmp_path / "pictures")
            assert loaded.config.context_modality == "picture"
            text = TEXTS[0]
            assert loaded.expand(loaded.compress(text)) == names["model"].expand(names["model"].compress(text))
            train_two_steps(tmp_path, names["config"])
    rows = json.loads((tmp_path / "results" / "digits.json").read_text())["examples"]
    assert {row["method"] for row in rows} == {"c3", "both-ends"} and all(0 <= row["digits"] <= 1 for row in rows)
    assert (tmp_path / "results" / "digits.png").is_file()
    assert "digits in their places" in capsys.readouterr().out
