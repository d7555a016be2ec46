"""
An adapter on an encoder of C3 and a language model, as configs/c3_smollm2.yaml makes it: what it holds, what it names,
every way to load it. Run: pytest tests/training/test_pair_adapters.py; tests/training/test_smollm2.py has real weights.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from adapted_models import as_if_trained
from c3 import C3Model
from c3.cli.main import main
from c3.training.checks import RecipeError
from c3.training.data.tokenizer import train_tokenizer
from c3.training.optim.lora import LoraSettings, add_lora, save_adapter, save_base
from c3.training.publish.hub_settings import HubSettings
from c3.training.publish.merge_lora import merge_lora
from c3.training.publish.push import PublishError, publish
from c3.training.recipe.recipe_file import load_recipe
from c3.training.run.dry_run import dry_run
from c3.training.run.stages import finish, train_stage
from hub_processes import expected, load_elsewhere
from tiny_models import TEXTS, tiny_backbone

RECIPE = Path(__file__).parents[2] / "configs" / "c3_smollm2.yaml"
SPECIAL = ["<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """Folder of a tiny Llama with SmolLM2's special tokens, its head its table of embeddings."""
    folder = tmp_path_factory.mktemp("llm")
    tokenizer = train_tokenizer(TEXTS[:1] * 4, vocab_size=280)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL, "eos_token": SPECIAL[1]})
    torch.manual_seed(1)
    config = tiny_backbone("llama", len(tokenizer), hidden_size=16, tie_word_embeddings=True, initializer_range=0.5)
    config.eos_token_id = tokenizer.eos_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def pair_recipe(training_folder, checkpoint, llm, tmp_path):
    """`pair_recipe("key=value", …)`: the shipped recipe for the tiny pair, three steps."""
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]
    rows = [{"context": text, "messages": messages} for text in TEXTS[:2] * 20]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def load(*overrides):
        tiny = {
            "output_dir": tmp_path / "run",
            "init_from_pair.encoder": checkpoint,
            "init_from_pair.decoder": llm,
            "dtype": "float32",
            "train_data": training_folder / "train.jsonl",
            "validation_data": training_folder / "validation.jsonl",
            "instruction_data": tmp_path / "rows.jsonl",
            "curriculum": "[{until: 1.0, windows: [16, 32], ratios: [2, 4]}]",
            "tokens_per_batch": 128,
            "lora.r": 2,
            "evaluation": "{ratios: [4], windows: 2, window: 24}",
            "training.max_steps": 3,
            "training.eval_steps": 3,
            "training.logging_steps": 1,
            "training.use_cpu": "true",
            "training.bf16": "false",
            "training.dataloader_num_workers": 0,
        }
        return load_recipe(RECIPE, [*(f"{key}={value}" for key, value in tiny.items()), *overrides])

    return load


@pytest.fixture
def named(checkpoint, llm):
    return {"encoder": str(checkpoint), "decoder": str(llm)}


@pytest.fixture
def adapted(named, tmp_path):
    """The pair with an adapter that does something, saved in the folder `adapter`."""
    options = {"num_latents": 8, "window": 32, "use_mask_embedding": True, "projector": "mlp"}
    torch.manual_seed(0)
    model = C3Model.from_encoder_decoder_pretrained(**named, **options, dtype=torch.float32)
    save_base(model, tmp_path / "base", named)
    model = as_if_trained(add_lora(model, LoraSettings(r=2)))
    save_adapter(model, tmp_path / "adapter")
    return model


def logits(model):
    """Of two texts that are given back."""
    with torch.no_grad():
        return model(**model.processor(TEXTS[:2])).logits


def test_the_recipe(pair_recipe, named, checkpoint, llm):
    """It trains, and what it saves is small, holds no table of embeddings, and loads to the same logits."""
    recipe = pair_recipe()
    before = load_file(llm / "model.safetensors")
    trainer = train_stage(recipe)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3 and "eval_precision" in trainer.state.log_history[-2]
    adapter = finish(recipe, trainer, trainer.state.log_history)
    assert json.loads((adapter / "config.json").read_text())["base_models"] == named
    held = load_file(adapter / "adapter_model.safetensors") | load_file(adapter / "model.safetensors")
    assert not [name for name in held if "embed_tokens" in name or "lm_head" in name]
    frozen = sum(each.numel() for each in before.values())
    assert sum(each.numel() for each in held.values()) < frozen

    model = trainer.model.eval()
    table = model.get_base_model().decoder.get_input_embeddings().weight
    assert torch.equal(table, before["model.embed_tokens.weight"])
    trained, processor = logits(model), model.processor
    for load in (C3Model.from_pretrained, AutoModel.from_pretrained):
        loaded = load(adapter)
        assert torch.equal(logits(loaded), trained)
    untrained = C3Model.from_pretrained(adapter.with_name("base"))
    assert not torch.equal(logits(untrained), trained)
    assert torch.equal(logits(PeftModel.from_pretrained(untrained, adapter)), trained)
    # As the model's own answers: special tokens are one id each, and the answer's end is the model's.
    ids = processor.decoder_inputs([processor.row([], "Who?", target=[7])])["input_ids"][0].tolist()
    start, end = AutoTokenizer.from_pretrained(llm).convert_tokens_to_ids(SPECIAL)
    assert [ids.count(start), ids.count(end)] == [2, 1] and loaded.generation_config.eos_token_id == end
    assert "parameters" in dry_run(pair_recipe(f"output_dir={adapter.parent}/other"))


def test_bases_that_are_elsewhere(adapted, named, llm, tmp_path, capsys):
    """Elsewhere than it was trained, and merged there; saved again it names what it was loaded with."""
    moved, adapter = tmp_path / "moved", tmp_path / "adapter"
    shutil.copytree(llm, moved)
    shutil.rmtree(tmp_path / "base")
    path = adapter / "config.json"
    AutoModelForCausalLM.from_config(tiny_backbone("qwen3", 300)).save_pretrained(tmp_path / "other")
    gone = json.loads(path.read_text())
    gone["base_models"]["decoder"] = str(tmp_path / "gone")
    path.write_text(json.dumps(gone))
    for load in (C3Model.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(OSError, match=r"adapter goes on the decoder .*gone, which cannot be loaded.*base_models="):
            load(adapter)
        with pytest.raises(ValueError, match="adapter goes on a llama model as its decoder, but .* is a qwen3 model"):
            load(adapter, base_models={"decoder": str(tmp_path / "other")})
        model = load(adapter, base_models={"decoder": str(moved)})
        assert torch.equal(logits(model), logits(adapted))
        assert model.latent_provenance().weights_fingerprint == adapted.latent_provenance().weights_fingerprint
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(C3Model.from_pretrained(tmp_path / "again")), logits(adapted))
    assert main(["merge-lora", str(tmp_path / "again"), str(tmp_path / "merged")]) == 0
    shutil.rmtree(moved)
    merged = C3Model.from_pretrained(tmp_path / "merged")
    assert merged.config.base_models is None
    torch.testing.assert_close(logits(merged), logits(adapted), atol=1e-4, rtol=1e-4)


def test_in_bfloat16(adapted, tmp_path):
    model, report = C3Model.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16, output_loading_info=True)
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16} and not any(report.values())


def test_a_whole_checkpoint_of_what_names_its_models(adapted, named, tmp_path):
    """Once its weights are trained themselves they are not those of the models any more."""
    model = C3Model.from_pretrained(tmp_path / "base")
    assert model.config.base_models == named
    with torch.no_grad():
        model.decoder.get_input_embeddings().weight.mul_(2)
    model.save_pretrained(tmp_path / "whole", state_dict=model.state_dict())
    whole = C3Model.from_pretrained(tmp_path / "whole")
    assert whole.config.base_models is None and torch.equal(logits(whole), logits(model))


def test_from_the_hub(client, adapted, checkpoint, llm, tmp_path):
    """Pushed, the adapter is loaded by its id alone, by its own code, on models of the Hub; so is its folder."""
    adapter = tmp_path / "adapter"
    with pytest.raises(PublishError, match="is an adapter on .*, which is not on the Hub, so that nobody else could"):
        publish(adapter, HubSettings("org/on_pair"))
    C3Model.from_pretrained(checkpoint).push_to_hub("org/encoder")
    AutoModelForCausalLM.from_pretrained(llm).push_to_hub("org/llm")
    config = json.loads((adapter / "config.json").read_text())
    config["base_models"] = {"encoder": "org/encoder", "decoder": "org/llm"}
    (adapter / "config.json").write_text(json.dumps(config))
    ModelCard("An adapter.").save(adapter / "README.md")
    HfApi().create_repo("org/on_pair")
    publish(adapter, HubSettings("org/on_pair"))
    assert "config.json" in client.repositories["org/on_pair"].files("main")
    found = load_elsewhere(client, tmp_path / "elsewhere", "org/on_pair", str(adapter))
    assert found["org/on_pair"] == found[str(adapter)] == expected(adapted)


def test_an_encoder_of_a_checkpoint(adapted, checkpoint, named, make_model, llm, tmp_path):
    """It reads as it did there, with its queries and its own tokenizer; fields that say otherwise are refused."""
    source = C3Model.from_pretrained(checkpoint)
    model = C3Model.from_encoder_decoder_pretrained(**named, num_latents=8, window=32)
    context = source.processor.context_inputs([source.processor.encode(TEXTS[0])[:20]], [4])
    states = [each._modality.states(each, **context) for each in (source, model)]
    assert torch.equal(*states)
    assert model.config.latent_position_layout == "uniform"
    with pytest.raises(ValueError, match="latent_position_layout is 'uniform' in the C3 checkpoint .* not 'appended'"):
        C3Model.from_encoder_decoder_pretrained(**named, latent_position_layout="appended")
    make_model("appended").save_pretrained(tmp_path / "appended")
    with pytest.raises(ValueError, match="num_latents must be 8, as in the C3 checkpoint that the encoder is from"):
        C3Model.from_encoder_decoder_pretrained(tmp_path / "appended", llm, num_latents=4, window=32)
    # Of a checkpoint whose encoder has a tokenizer for itself, that one.
    merged = merge_lora(tmp_path / "adapter", tmp_path / "merged")
    again = C3Model.from_encoder_decoder_pretrained(tmp_path / "merged", llm, num_latents=8, window=32)
    ids = merged.processor.encode_context(TEXTS[2])
    assert again.processor.encode_context(TEXTS[2]) == ids != merged.processor.encode(TEXTS[2])


def test_recipes_that_cannot_be(pair_recipe, checkpoint):
    with pytest.raises(RecipeError, match="init_from_pair: pooling is 'queries' in the C3 checkpoint"):
        dry_run(pair_recipe("init_from_pair.pooling=mean"))
    with pytest.raises(RecipeError, match=f"hub: nobody else could load an adapter on {checkpoint}, .*, which is on"):
        pair_recipe("hub={repo_id: org/adapter}")
    pair = ["init_from_pair.encoder=org/c3", "init_from_pair.decoder=org/llm"]
    assert pair_recipe("hub={repo_id: org/adapter}", *pair).hub
