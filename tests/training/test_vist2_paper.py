"""configs/vist2_paper.yaml, its models replaced by tiny ones. Run: pytest tests/training/test_vist2_paper.py"""

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from c3 import C3Model
from c3.cli.main import main
from c3.training.data.tokenizer import train_tokenizer
from image_models import TOWERS
from tiny_models import TEXTS, history, tiny_backbone

ROOT = Path(__file__).parents[2]
RATES = {"instructions": 1e-5}
PARTS = {"projector": ("projector",), "encoder": ("encoder", "projector")}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The shipped one but for its models, sizes, data and steps: chunks of 16 tokens, no DeepSpeed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    values = yaml.safe_load((ROOT / "configs" / "vist2_paper.yaml").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS * 4, vocab_size=300)
    AutoModel.from_config(AutoConfig.for_model(**TOWERS["siglip_vision_model"])).save_pretrained("tower")
    AutoModelForCausalLM.from_config(tiny_backbone("qwen3", len(tokenizer), 32)).save_pretrained("decoder")
    tokenizer.save_pretrained("decoder")
    text = " ".join(TEXTS).replace("\n", " ") * 8
    Path("text.jsonl").write_text("\n".join([json.dumps({"text": text})] * 4), encoding="utf-8")
    answered = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": TEXTS[1]}]
    rows = [{"context": context, "messages": answered} for context in ("", TEXTS[0])] * 8
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    values["init_from_pair"] |= {"encoder": "tower", "decoder": "decoder", "num_latents": 4, "window": 16}
    values |= {"train_data": [{"path": "text.jsonl", "streaming": True}], "instruction_data": "rows.jsonl"}
    for stage in values["stages"]:
        stage["tokens_per_batch"] = 128
        stage["training"] = {"max_steps": 2, "gradient_accumulation_steps": 1}
        for phase in stage["curriculum"]:
            phase |= {"windows": [16], "num_latents": [4]}
    values["training"] |= {"deepspeed": None, "bf16": False, "use_cpu": True, "logging_steps": 1, "disable_tqdm": True}
    Path("recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return values


def test_a_run_of_all_stages(recipe):
    """Each trains the parts that it names and no others; the model answers in chunks."""
    assert main(["train", "recipe.yaml"]) in (0, None)
    folder, before = Path(recipe["output_dir"]), None
    for number, stage in enumerate(recipe["stages"], start=1):
        stage_folder = folder / f"{number}-{stage['name']}"
        losses = history(stage_folder)
        assert len(losses) == 2 and all(loss > 0 for loss in losses.values())
        assert max(history(stage_folder, "learning_rate").values()) == pytest.approx(RATES.get(stage["name"], 5e-4))
        is_last = number == len(recipe["stages"])
        state = C3Model.from_pretrained(folder / "final" if is_last else stage_folder / "finished").state_dict()
        if before is not None and not is_last:
            changed = {name.split(".")[0] for name in state if not torch.equal(state[name], before[name])}
            assert changed == set(PARTS.get(stage["name"], ("encoder", "projector", "decoder")))
        before = state
    model = C3Model.from_pretrained(folder / "final")
    assert model.config.projector == "tanh" and not model.config.reconstruction_only
    answer = model.generate(None, TEXTS[0], compress_every=16, ratio=4, max_new_tokens=20, do_sample=False)
    assert isinstance(answer, str)
