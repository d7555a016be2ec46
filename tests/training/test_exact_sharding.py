"""Exact compression in two processes that share a model in each way. Run: pytest -m distributed"""

import json
import subprocess

import pytest
import torch
from torch import nn

from c3 import C3Model
from distributed_runs import ADAMW, MODES, ROOT, WORKER, environment_of, torchrun
from tiny_models import write_training_folder

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recipe, and the default checkpoint, but with a table for each backbone: one for both is beyond FSDP."""
    folder = tmp_path_factory.mktemp("exact")
    write_training_folder(folder, steps=1)
    model = C3Model.from_pretrained(ROOT)
    model.config.tie_word_embeddings = False
    model.encoder.embed_tokens.weight = nn.Parameter(model.encoder.embed_tokens.weight.detach().clone())
    model.to(torch.bfloat16).save_pretrained(folder / "untied")
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_the_very_text_comes_back(mode, folder):
    overrides = [ADAMW, f"init_from={folder / 'untied'}", "model={}", "tokenizer=null", "optimizer.lr=1e-9"]
    overrides += ["training.eval_steps=1", "training.save_strategy=no", *MODES[mode][1]]
    command = torchrun(WORKER, "exact", folder / "recipe.yaml", f"output_dir={folder / mode}", *overrides)
    run = subprocess.run(command, env=environment_of(folder), capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-6000:]
    for rank in (0, 1):
        found = json.loads((folder / mode / f"exact-{rank}.json").read_text())
        assert found["exact"] == found["again"] == found["text"] != found["greedy"]
        assert 0.5 < found["fidelity"] < 1
