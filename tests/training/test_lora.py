"""LoRA through PEFT: what trains, what is saved, every way to load it. Run: pytest tests/training/test_lora.py"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

from adapted_models import as_if_trained, prints, tell
from c3 import C3Model, InexactTextError, checkpoint_c3
from c3.cli.main import main
from c3.latents_c3 import LatentMismatchError
from c3.support.loading import PACKAGE
from c3.training.data.collator import C3Collator
from c3.training.optim.lora import LoraSettings, add_lora, save_adapter, save_base
from c3.training.publish.merge_lora import merge_anew
from c3.training.run.stages import train
from tiny_models import TEXTS, history, tiny_backbone, window_example

WHOLE = {"context_queries", "projector", "mask_embedding"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
LINEAR = ATTENTION | {"gate_proj", "up_proj", "down_proj"}


def training_batch(model):
    """Two windows, with hidden tokens in the decoder's input."""
    examples = []
    for text in TEXTS[:2]:
        ids = model.processor.encode(text)[:16]
        examples.append(window_example(model.processor, ids, 4, hidden=np.arange(len(ids)) % 3 == 0))
    return C3Collator(model.processor)(examples)


def trainable(model):
    names = (name.removeprefix("base_model.model.") for name, p in model.named_parameters() if p.requires_grad)
    return set(names)


def assert_same(model, other):
    ours, theirs = tell(model), tell(other)
    assert torch.equal(ours[0].values, theirs[0].values)
    assert ours[0].provenance == theirs[0].provenance
    assert ours[1] == theirs[1]


# ------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, "lora.r must be an integer of 1 or more, not 0"),
        ({"r": 2.5}, "lora.r must be an integer"),
        ({"alpha": 0}, "lora.alpha must be a number above 0"),
        ({"alpha": "32"}, "lora.alpha must be a number above 0, not '32'"),
        ({"dropout": 1}, "lora.dropout must be a number from 0 to below 1, not 1"),
        ({"parts": []}, r"lora.parts must list encoder or decoder or both, not \[\]"),
        ({"parts": ["projector"]}, "lora.parts must list"),
        ({"parts": None}, "lora.parts must list"),
        ({"target_modules": "q_proj"}, "lora.target_modules must be all-linear or a list of names"),
        ({"target_modules": []}, "lora.target_modules must be"),
        ({"train_queries": None}, "lora.train_queries must be true or false, not None"),
        ({"train_norms": "all"}, "lora.train_norms must be true or false, not 'all'"),
        ({"use_dora": 1}, "lora.use_dora must be true or false, not 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LoraSettings(**settings)


@pytest.mark.parametrize("name", ["queue_proj", "lm_head", "embed_tokens", "linear_1"])
def test_layers_that_a_part_does_not_have(name, make_model):
    """Nor may an adapter sit on a table of embeddings, which both parts may share."""
    with pytest.raises(ValueError, match=f"lora.target_modules: the decoder has no linear layer {name}; it has down_"):
        add_lora(make_model(), LoraSettings(parts="decoder", target_modules=["q_proj", name]))


def test_a_model_with_adapters_takes_no_more(adapt):
    for model in (adapt(), adapt().get_base_model()):
        with pytest.raises(ValueError, match="has adapters already: merge them first"):
            add_lora(model, LoraSettings())


def test_peft_is_not_installed(make_model, adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(checkpoint_c3, "is_peft_available", lambda: False)
    with pytest.raises(ImportError, match=r"LoRA needs peft, which is not installed: pip install -e \.\[train\]"):
        add_lora(make_model(), LoraSettings())
    with pytest.raises(ImportError, match="adapter holds an adapter, which needs peft: pip install"):
        C3Model.from_pretrained(adapter)
    assert main(["merge-lora", str(adapter), str(tmp_path / "merged")]) == 2
    assert capsys.readouterr().err.startswith("c3: error: LoRA needs peft")


# ------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, {"encoder": LINEAR, "decoder": LINEAR}),
        ({"parts": ["decoder"], "target_modules": ["q_proj", "v_proj"]}, {"decoder": {"q_proj", "v_proj"}}),
        ({"parts": "encoder", "use_rslora": True}, {"encoder": LINEAR}),
    ],
)
def test_what_trains(settings, layers, tied, make_model):
    model = add_lora(make_model(tie_word_embeddings=tied), LoraSettings(**settings))
    adapters = {name for name in trainable(model) if "lora_" in name}
    assert {name.split(".")[0] for name in trainable(model) - adapters} == WHOLE
    assert len(adapters) == sum(2 * 2 * len(each) for each in layers.values())  # two matrices in each of two layers
    for part, names in layers.items():
        ours = [name.split(".") for name in adapters if name.startswith(part)]
        assert {name[name.index("lora_A" if "lora_A" in name else "lora_B") - 1] for name in ours} == names


def test_a_model_without_mask_embedding(make_model):
    model = add_lora(make_model("appended", use_mask_embedding=False), LoraSettings(target_modules=["q_proj"]))
    assert {name.split(".")[0] for name in trainable(model)} == {"context_queries", "projector", "encoder", "decoder"}
    alone = make_model("appended", use_mask_embedding=False)
    add_lora(alone, LoraSettings(parts="decoder", train_queries=False))
    assert {name.split(".")[0] for name in trainable(alone)} == {"decoder"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_changes_what_trains_and_nothing_else(adapt, dtype):
    model = adapt(dtype=dtype, use_dora=True, train_norms=True).train()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    loss = model(**training_batch(model)).loss
    loss.backward()
    optimizer.step()
    changed = {
        name.removeprefix("base_model.model.") for name, p in model.named_parameters() if (p != before[name]).any()
    }
    assert changed == trainable(model)
    assert model(**training_batch(model)).loss < loss


@pytest.mark.parametrize("settings", [{}, {"parts": "decoder", "train_queries": False}])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant, settings, adapt):
    """Frozen embeddings are what checkpoints usually lose the gradient at, and so may latents be."""
    gradients = []
    for checkpointing in (False, True):
        model = adapt(**settings).train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model(**training_batch(model)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)
    tell(model.eval())  # with its hooks on the embeddings


@pytest.mark.parametrize("checkpointing", [False, True])
def test_plain_trainer(checkpointing, adapt, tmp_path):
    def trainer(name):
        model = adapt()
        examples = [
            window_example(
                model.processor, model.processor.encode(TEXTS[0])[i : i + 8], 2, hidden=np.arange(8) == i % 8
            )
            for i in range(12)
        ]
        return Trainer(
            model,
            TrainingArguments(
                tmp_path / name,
                max_steps=3,
                per_device_train_batch_size=4,
                learning_rate=1e-2,
                logging_steps=1,
                save_steps=2,
                gradient_checkpointing=checkpointing,
                use_cpu=True,
                disable_tqdm=True,
                remove_unused_columns=False,  # the collator's input is not the model's
            ),
            train_dataset=examples,
            data_collator=C3Collator(model.processor),
            processing_class=model.processor,
        )

    straight = trainer("straight")
    frozen = {name: p.clone() for name, p in straight.model.named_parameters() if not p.requires_grad}
    straight.train()
    losses = [entry["loss"] for entry in straight.state.log_history if "loss" in entry]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert all(torch.equal(p, frozen[name]) for name, p in straight.model.named_parameters() if name in frozen)
    saved = tmp_path / "straight" / "checkpoint-2"
    assert (saved / "adapter_model.safetensors").is_file() and not (saved / "model.safetensors").exists()

    resumed = trainer("resumed")
    resumed.train(resume_from_checkpoint=str(saved))
    assert resumed.state.log_history[-2]["loss"] == losses[-1]
    assert_same(straight.model.eval(), resumed.model.eval())
    finished = C3Model.from_pretrained(tmp_path / "straight" / "checkpoint-3")
    assert_same(finished, straight.model)


# ---------------------------------------------------------------------------------------------- saving and loading


def test_text_to_latents_and_back(adapt):
    model = adapt()
    latents, texts = tell(model)
    for text, one in zip(TEXTS, texts, strict=True):
        assert "".join(model.expand(model.compress(text, num_latents=4), stream=True)) == one
    assert model.generate(latents) != tell(adapt().unload())[1]
    merged = adapt().merge_and_unload()
    assert merged.expand(latents, allow_mismatch=True) == texts
    options = {"max_new_tokens": 12, "num_beams": 2}
    asked = model.generate(latents, "What is this?", **options)
    assert merged.generate(latents, "What is this?", allow_mismatch=True, **options) == asked


def test_adapters_on_a_bfloat16_base(adapt):
    latents, _ = tell(adapt(dtype=torch.bfloat16))
    assert latents.values.dtype == torch.bfloat16
    reference = tell(adapt())[0].values
    torch.testing.assert_close(latents.values.float(), reference, atol=0.05 * reference.abs().max().item(), rtol=0)


def test_loaded_in_bfloat16(adapter, checkpoint):
    """PeftModel would keep the matrices of the adapter in float32."""
    base = C3Model.from_pretrained(checkpoint, dtype=torch.bfloat16)
    other = PeftModel.from_pretrained(base, adapter, autocast_adapter_dtype=False)
    assert_same(C3Model.from_pretrained(adapter, dtype=torch.bfloat16), other)


def test_the_folder_is_small(adapter, checkpoint):
    files = {each.name for each in adapter.iterdir()}
    assert files >= {"adapter_model.safetensors", "adapter_config.json", "processor_config.json", "tokenizer.json"}
    assert not files & {"model.safetensors", "config.json"}
    base = (checkpoint / "model.safetensors").stat().st_size
    assert (adapter / "adapter_model.safetensors").stat().st_size < 0.25 * base
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(checkpoint)
    assert AutoProcessor.from_pretrained(adapter).encode(TEXTS[0])


@pytest.mark.parametrize("cls", [C3Model, AutoModel])
def test_every_way_to_load_it(cls, adapt, adapter, checkpoint, tmp_path):
    expected = adapt()
    assert_same(PeftModel.from_pretrained(C3Model.from_pretrained(checkpoint), adapter), expected)
    model, report = cls.from_pretrained(adapter, output_loading_info=True)
    assert not any(report.values())
    assert_same(model, expected)
    # A model with its adapter inside saves the adapter alone, again.
    model.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again" / "model.safetensors").exists()
    assert_same(cls.from_pretrained(tmp_path / "again"), expected)
    assert_same(PeftModel.from_pretrained(C3Model.from_pretrained(checkpoint), tmp_path / "again"), expected)


def test_a_base_by_a_relative_path(adapt, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    model = adapt(checkpoint.name)
    save_adapter(model, tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    assert_same(C3Model.from_pretrained("adapter"), model)


def test_training_goes_on_from_a_saved_adapter(adapt, adapter, checkpoint):
    model = PeftModel.from_pretrained(C3Model.from_pretrained(checkpoint), adapter, is_trainable=True)
    assert trainable(model) == trainable(adapt())


def test_the_model_inside_is_not_saved_by_mistake(adapt, tmp_path):
    with pytest.raises(ValueError, match="inside a PeftModel: save that one for the adapter alone, or merge it first"):
        adapt().get_base_model().save_pretrained(tmp_path / "inside")
    assert not (tmp_path / "inside").exists()


def test_adapters_on_a_pair_of_models(tokenizer, tmp_path, monkeypatch):
    """The pair is in no checkpoint until `save_base` writes it; the adapter then loads from any folder."""
    monkeypatch.chdir(tmp_path)
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    for name, width in (("small", 16), ("large", 32)):
        backbone = AutoModelForCausalLM.from_config(tiny_backbone("qwen2", len(tokenizer), hidden_size=width))
        backbone.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    model = C3Model.from_encoder_decoder_pretrained(tmp_path / "small", tmp_path / "large", num_latents=8, window=32)
    save_base(model, "base")
    adapted = as_if_trained(add_lora(model, LoraSettings(r=2)))
    save_adapter(adapted, tmp_path / "adapter")
    written = (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns
    assert_same(C3Model.from_pretrained(tmp_path / "adapter"), adapted)
    monkeypatch.chdir("/")
    assert_same(C3Model.from_pretrained(tmp_path / "adapter"), adapted)
    # Started again, the new queries are others; those that count are in the adapter.
    model = C3Model.from_encoder_decoder_pretrained(tmp_path / "small", tmp_path / "large", num_latents=8, window=32)
    save_base(model, tmp_path / "base")
    assert (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns == written
    assert_same(PeftModel.from_pretrained(model, tmp_path / "adapter"), adapted)


# ---------------------------------------------------------------------------------------------------- provenance


def test_latents_of_base_and_adapter(adapt, adapter, checkpoint):
    model, base = adapt(), C3Model.from_pretrained(checkpoint)
    latents, texts = tell(model)
    name = checkpoint.name
    assert latents.provenance.model_name == f"{name} + adapter default"
    assert prints(model) != prints(base)
    assert prints(model) != prints(adapt(alpha=8)) != prints(base)
    with pytest.raises(
        LatentMismatchError, match=rf"made by '{name} \+ adapter default' .* but the model is '{name}' "
    ):
        base.expand(latents)
    with model.disable_adapter():
        assert model.latent_provenance() == base.latent_provenance()
        assert torch.equal(tell(model)[0].values, tell(base)[0].values)
    assert model.latent_provenance() == latents.provenance
    named = PeftModel.from_pretrained(base, adapter, adapter_name="mine")
    assert prints(named) == prints(model) and named.latent_provenance().model_name == f"{name} + adapter mine"
    assert named.expand(latents) == texts


def test_latents_of_an_adapter_on_the_decoder_alone(adapt, checkpoint, tmp_path):
    """Those of its base, either way; not where queries, projector or the encoder are trained too, nor merged."""
    base = C3Model.from_pretrained(checkpoint)
    theirs = base.compress(TEXTS, exact=True)
    model = adapt(parts=["decoder"], train_queries=False)
    assert {name.split(".")[0] for name in trainable(model)} == {"decoder", "mask_embedding"}
    assert prints(model) == prints(base) and torch.equal(model.compress(TEXTS).values, theirs.values)
    assert model.expand(replace(theirs, corrections=None)) == model.expand(model.compress(TEXTS)) != base.expand(theirs)
    model.add_adapter("second", model.peft_config["default"])
    model.set_adapter("second")
    assert prints(model) == prints(base)
    save_adapter(adapt(parts=["decoder"], train_queries=False), tmp_path / "adapter")
    assert C3Model.from_pretrained(tmp_path / "adapter").expand(theirs[:0]) == []
    for settings in ({"parts": ["decoder"]}, {"parts": ["encoder"], "train_queries": False}, {"train_queries": False}):
        with pytest.raises(LatentMismatchError):
            adapt(**settings).expand(theirs)
    merged = adapt(parts=["decoder"], train_queries=False).merge_and_unload()
    assert prints(merged) != prints(base)


def test_corrections_are_those_of_the_decoder_that_found_them():
    """What does not come back by them with another one is an error, and nothing else."""
    model = C3Model.from_pretrained(PACKAGE, dtype=torch.float32)
    latents, text = model.compress("It was the best of times.", exact=True), "It was the best of times."
    model = as_if_trained(add_lora(model, LoraSettings(r=4, parts="decoder", train_queries=False)))
    with pytest.raises(InexactTextError, match="did not come back .* or this device, dtype or adapter computes too"):
        model.expand(latents)
    with model.disable_adapter():
        assert model.expand(latents) == text


@pytest.mark.parametrize(
    "options",
    [
        ["lora={r: 4, parts: [decoder]}", "optimizer={name: adamw, lr: 0.01}"],
        ["lora={r: 4, parts: [decoder]}", "optimizer={name: muon, lr: 0.01}"],
        ["lora={r: 4, train_queries: false}", "model.use_mask_embedding=false", "dropout_windows=0"],
    ],
    ids=["adamw", "muon", "nothing but adapters"],
)
def test_a_recipe_with_lora(options, load_training, capsys, request):
    """From a model of its own: the base is saved once, a run that was stopped goes on, the adapter loads by itself."""
    recipe = load_training(f"lora-{request.node.callspec.id}", *options, "training.max_steps=4")
    output = Path(recipe.output_dir)
    final = train(recipe)
    assert "decoder" in capsys.readouterr().err
    assert (final / "adapter_model.safetensors").is_file() and not (final / "model.safetensors").exists()
    straight = history(output)
    shutil.rmtree(output / "checkpoint-4")
    train(recipe)
    assert history(output) == straight and len(straight) == 4
    adapted, base = C3Model.from_pretrained(final), C3Model.from_pretrained(output / "base")
    assert not torch.equal(adapted.compress(TEXTS[0]).values, base.compress(TEXTS[0]).values)
    assert base.config.reconstruction_only
    for options in ({"reconstruction_only": True}, {}):  # what the adapter was trained for is the caller's to know
        merge_anew(str(final), output / "merged", **options)
        merged = C3Model.from_pretrained(output / "merged")
        assert merged.config.reconstruction_only == bool(options)
    assert torch.allclose(merged.compress(TEXTS[0]).values, adapted.compress(TEXTS[0]).values, atol=1e-4)
