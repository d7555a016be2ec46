"""How batches get to a GPU, told without one. Run: pytest tests/training/test_batches_on_gpu.py"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import skip_first_batches
from transformers import TrainingArguments

from c3.training.checks import RecipeError
from c3.training.run.stages import make_trainer


@pytest.fixture(params=[False, True], ids=["loaded", "streamed"])
def trainer(request, load_training, training_folder, make_model, tmp_path):
    """On the CPU; of data that are loaded by a worker, or that stream."""
    make_model().processor.tokenizer.save_pretrained(tmp_path)
    source = {"path": str(training_folder / "train.jsonl"), "streaming": request.param}
    workers = f"training.dataloader_num_workers={0 if request.param else 1}"
    options = [f"train_data={json.dumps(source)}", f"tokenizer={tmp_path}", workers, "training.max_steps=4"]
    return make_trainer(load_training(f"on gpu {request.param}", *options))


def test_batches_are_pinned_and_nobody_waits_for_their_copies(trainer, monkeypatch):
    """On a GPU alone, and in a run that was resumed as well."""
    loader = trainer.get_train_dataloader()
    assert not loader.pin_memory
    batch = next(iter(loader))
    assert all(each.device.type == "cpu" for each in trainer.to_device(batch).values() if torch.is_tensor(each))
    workers = loader.num_workers
    monkeypatch.setattr(TrainingArguments, "device", torch.device("cuda"))
    loader = trainer.get_train_dataloader()
    for each in (loader, skip_first_batches(loader, 2)):
        # Where accelerate's loader knows a device it copies there itself, and waits.
        assert each.pin_memory and each.num_workers == workers and getattr(each, "device", None) is None
    copies = []
    tensor = SimpleNamespace(
        to=lambda device, non_blocking: copies.append((torch.device(device).type, non_blocking)) or batch["labels"],
        pin_memory=lambda: "pinned",
    )
    # Places are no tensors, but hold one.
    places = replace(batch["latent_places"], index=tensor)
    assert places.pin_memory().index == "pinned"
    (copied,), count = trainer.get_batch_samples(
        iter([{"labels": tensor, "latent_places": places, "logits_to_keep": 3}]), 1, torch.device("cpu")
    )
    assert copies == [("cuda", True)] * 2 and copied["logits_to_keep"] == 3
    assert copied["latent_places"].index is batch["labels"] and copied["latent_places"].most == places.most
    assert count == (batch["labels"] >= 0).sum()


def test_several_gpus_need_a_process_each(trainer, monkeypatch):
    """torch would cut batches between them."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(RecipeError, match="has 2 GPUs: start one for each .torchrun --nproc-per-node 2 train_hf.py"):
        make_trainer(trainer.recipe)


def test_positions_are_not_rounded(trainer, monkeypatch):
    """DeepSpeed's integration turns inputs that are no whole numbers to the dtype of the weights."""
    monkeypatch.setattr(trainer, "is_deepspeed_enabled", True)
    positions = torch.tensor([[300.5, 301.0]])
    assert trainer._prepare_inputs({"position_ids": positions})["position_ids"].tolist() == positions.tolist()
