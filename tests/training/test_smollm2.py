"""
configs/c3_smollm2.yaml on the real weights, some minutes of one core: docs/training.md says how to get them. Run:
SMOLLM2=FOLDER pytest -m slow tests/training/test_smollm2.py
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from c3 import C3Model
from c3.training.data.collator import C3Collator
from c3.training.data.objectives import one_window
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run.stages import finish, make_trainer

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("SMOLLM2", "")
MOST_BYTES = 60 * 10**6
SECRETS = {"amber": "harbour", "birch": "candle", "cedar": "meadow", "daisy": "violin", "ebony": "lantern"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER and Path(FOLDER, "model.safetensors").is_file()), reason="SMOLLM2 names no folder of weights"
    ),
]


@pytest.fixture
def speech():
    """A text that is not trained on."""
    return (ROOT / "examples" / "jefferson_1805.txt").read_text(encoding="utf-8")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The shipped one with short windows, 20 small steps; on texts of the repository."""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "LICENSE").read_text(encoding="utf-8") + (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    rows = []
    for word, secret in SECRETS.items():
        context = f"{text[len(rows) * 300 :][:150]} The special magic word for {word} is: {secret}."
        turns = [("user", f"What is the special magic word for {word}?"), ("assistant", secret)]
        rows.append({"context": context, "messages": [{"role": role, "content": said} for role, said in turns]})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows * 8)), encoding="utf-8")
    changed = {
        "output_dir": tmp_path / "run",
        "init_from_pair.decoder": FOLDER,
        "train_data": tmp_path / "train.txt",
        "validation_data": tmp_path / "train.txt",
        "instruction_data": tmp_path / "rows.jsonl",
        "curriculum": "[{until: 1.0, windows: [64], ratios: [2, 2]}]",
        "tokens_per_batch": 512,
        "attn_implementation": "cpu_matmul",
        "training.max_steps": 20,
        "training.warmup_steps": 2,
        "training.logging_steps": 1,
        "training.bf16": "auto",
        "training.use_cpu": "true",
        "training.eval_strategy": "no",
        "training.dataloader_num_workers": 0,
    }
    return load_recipe(ROOT / "configs" / "c3_smollm2.yaml", [f"{key}={value}" for key, value in changed.items()])


def loss(model, text):
    """Of six windows of a text that are given back at 2x, every second token hidden, as in training."""
    processor = model.processor
    ids = processor.encode(text)[: 6 * 64]
    assert len(ids) == 6 * 64
    examples = []
    for start in range(0, len(ids), 64):
        window = processor.window_of(ids[start : start + 64])
        hidden = np.arange(len(window.text_ids)) % 2 == 1
        examples.append(one_window(processor, window, 32, None, list(window.text_ids), hidden))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return float(model(**C3Collator(processor)(examples)).loss)


def test_a_short_run(recipe, speech):
    """The loss of what was not trained on falls; what is saved is small and loads to the same logits."""
    trainer = make_trainer(recipe)
    before = loss(trainer.model.eval(), speech)
    trainer.model.train()
    trainer.train()
    history = trainer.state.log_history
    after = loss(trainer.model.eval(), speech)
    print([entry["loss"] for entry in history if "loss" in entry], before, after)
    assert after < before - 0.5

    adapter = finish(recipe, trainer, history)
    assert sum(path.stat().st_size for path in adapter.rglob("*") if path.is_file()) < MOST_BYTES
    assert json.loads((adapter / "config.json").read_text())["base_models"]["decoder"] == os.path.abspath(FOLDER)
    loaded, same = C3Model.from_pretrained(adapter), AutoModel.from_pretrained(adapter)
    batch = loaded.processor(speech[-300:])
    with torch.no_grad():
        ours = loaded(**batch).logits
        assert torch.equal(ours, same(**batch).logits)
        # The adapter that was trained is in float32.
        theirs = trainer.model(**batch).logits
    assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() > 0.9
    assert isinstance(loaded.generate(loaded.compress(speech[:300]), "Who speaks?", max_new_tokens=8), str)


def test_the_model_itself():
    """Its tokenizer and its chat template came along, and its answer ends."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**inputs, max_new_tokens=30, do_sample=False)[0][inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(ids) and tokenizer.convert_ids_to_tokens(int(ids[-1])) == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == int(ids[-1])
