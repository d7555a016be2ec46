"""Loading as remote code by the Auto classes: from a folder, a Hub snapshot cache, and the repository itself."""

import os
import shutil
from pathlib import Path

import pytest

from adapted_models import save_with_prompt_adapter
from c3 import C3Model
from fresh_processes import run_fresh
from image_models import model_of

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import sys
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor
source, text, revision = sys.argv[1:4]
options = {"trust_remote_code": True, "revision": revision}
config = AutoConfig.from_pretrained(source, **options)
model = AutoModel.from_pretrained(source, **options)
processor = AutoProcessor.from_pretrained(source, **options)
try:
    AutoModelForCausalLM.from_pretrained(source, **options)
except Exception as error:
    assert "load it with AutoModel.from_pretrained" in str(error), error
else:
    raise AssertionError("a model of AutoModelForCausalLM")
assert "c3" not in sys.modules
for part in (config, model, processor):
    assert type(part).__module__.startswith("transformers_modules"), type(part)
latents = model.compress(text)
assert processor.split(text)[0].text_ids == model.processor.split(text)[0].text_ids
if len(sys.argv) > 4:
    model.save_pretrained(sys.argv[4])
print(latents.provenance.weights_fingerprint, ascii(model.expand(latents)), end=" ")
print(ascii(model.generate(latents, "Who?", max_new_tokens=6)) if config.prompt_adapter else "")
"""


# Long enough for the default checkpoint to give it back.
TEXT = "one short text that comes back"


def run_elsewhere(tmp_path, source, *arguments, revision="main"):
    """Runs the script in a fresh process, outside the checkout, and returns what it printed."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    result = run_fresh(SCRIPT, source, TEXT, revision, *arguments, variables=variables, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Do you wish to run the custom code" not in result.stdout + result.stderr
    # Other packages, such as DeepSpeed, may print above it.
    return result.stdout.splitlines()[-1].strip()


@pytest.fixture(params=["text"])
def saved(request, make_model, tokenizer, tmp_path):
    """A folder with a model that reads this kind of context, of text one that answers with an adapter; what it says."""
    if request.param == "image":
        model = model_of(tokenizer)
        model.save_pretrained(tmp_path / "saved")
    else:
        save_with_prompt_adapter(make_model(), tmp_path / "saved")
        model = C3Model.from_pretrained(tmp_path / "saved")
    latents = model.compress(TEXT)
    said = f"{latents.provenance.weights_fingerprint} {ascii(model.expand(latents))}"
    if model.config.prompt_adapter is not None:
        said += f" {ascii(model.generate(latents, 'Who?', max_new_tokens=6))}"
    return tmp_path / "saved", said


def test_saved_folder_and_the_folder_saved_from_that(saved, tmp_path):
    folder, expected = saved
    assert run_elsewhere(tmp_path, folder, tmp_path / "again") == expected
    assert run_elsewhere(tmp_path, tmp_path / "again") == expected


@pytest.mark.parametrize(("revision", "saved"), [("main", "text"), ("v1", "image")], indirect=["saved"])
def test_hub_snapshot_cache(revision, saved, tmp_path):
    """The cache holds this revision alone, so that a processor of another one cannot be taken by mistake."""
    folder, expected = saved
    repository = tmp_path / "home" / "hub" / "models--org--c3"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(COMMIT)
    assert run_elsewhere(tmp_path, "org/c3", revision=revision) == expected


@pytest.mark.skipif(not (ROOT / "model.safetensors").is_file(), reason="the checkout has no weights")
def test_repository_root(tmp_path):
    assert f"'{TEXT}'" in run_elsewhere(tmp_path, ROOT)
