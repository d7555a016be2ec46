"""
Adapters that are put into the checkpoint that they go on, which answers prompts with them.
Run: pytest tests/training/test_attach_adapter.py
"""

import json
import shutil

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file

from adapted_models import as_if_trained
from c3 import C3Model
from c3.cli.main import main
from c3.prompt_adapter_c3 import FILES, TRAINED_ON
from c3.training.optim.lora import LoraSettings, add_lora, save_adapter, save_base
from c3.training.publish.attach_adapter import attach_adapter
from c3.training.run.build import build, like, start_config
from tiny_models import TEXTS

TEMPLATE = "{latents}{prompt}\n"
READING = {"parts": ["decoder"], "train_queries": False}


def adapted(base, **settings):
    """A model with a new adapter that does something, in numbers that bfloat16 holds."""
    model = as_if_trained(add_lora(base, LoraSettings(r=2, **settings)))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.bfloat16().float()
    return model


@pytest.fixture(scope="module")
def base(make_model, tmp_path_factory):
    """A checkpoint that only gives texts back."""
    folder = tmp_path_factory.mktemp("base")
    make_model(reconstruction_only=True).save_pretrained(folder)
    # In an order that transformers would not write.
    fields = json.loads((folder / "config.json").read_text())
    fields["unreliable_characters"] = {"tilde": "U+7E", "at": "U+40"}
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """A model with an adapter for prompts, and the folder that a run leaves of it."""
    folder = tmp_path_factory.mktemp("run")
    model = C3Model.from_pretrained(base)
    processor = model.processor
    model.config.prompt_template, model.config.reconstruction_only = TEMPLATE, False
    model.processor = like(processor, model.config)
    save_base(model, folder / "base", {"model": str(base)})
    model = adapted(model, **READING)
    save_adapter(model, folder / "final")
    return model.get_base_model(), folder / "final"


@pytest.fixture
def checkpoint(base, tmp_path):
    return shutil.copytree(base, tmp_path / "checkpoint")


@pytest.fixture
def attach(checkpoint, trained, capsys):
    """`attach(adapter, checkpoint, *options)`: the command's exit code and what it says, one line."""

    def attach(adapter=trained[1], checkpoint=checkpoint, *options):
        capsys.readouterr()  # what loading and saving has said until now
        code = main(["attach-adapter", str(adapter), str(checkpoint), *options])
        out, err = capsys.readouterr()
        (line,) = (err if code else out).splitlines()
        return code, line

    return attach


def answer(model, latents):
    return model.generate(latents, "a prompt", do_sample=False, max_new_tokens=8)


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_prompts_are_answered_with_it_and_nothing_else_changes(attach, trained, base, checkpoint):
    code, said = attach()
    held = load_file(trained[1] / "adapter_model.safetensors")
    parameters, size = (
        sum(each.numel() for each in held.values()),
        (checkpoint / "ask_adapter" / FILES[2]).stat().st_size,
    )
    assert (code, said) == (0, f"Attached: {checkpoint / 'ask_adapter'}, {parameters} parameters, {size / 1e6:.1f} MB")
    plain, model = C3Model.from_pretrained(base), C3Model.from_pretrained(checkpoint)
    latents = model.compress(TEXTS, num_latents=4)
    assert torch.equal(latents.values, plain.compress(TEXTS, num_latents=4).values)
    assert latents.provenance.weights_fingerprint == plain.latent_provenance().weights_fingerprint
    assert model.expand(latents) == plain.expand(latents)
    plain.config.reconstruction_only = False
    assert answer(model, latents) == answer(trained[0], latents) != answer(plain, latents)


def test_what_is_written(attach, trained, base, checkpoint):
    attach()
    folder = checkpoint / "ask_adapter"
    assert {each.name for each in folder.iterdir()} == set(FILES)
    assert {each.name for each in checkpoint.iterdir()} == {each.name for each in base.iterdir()} | {"ask_adapter"}
    before, after = ((each / "config.json").read_text() for each in (base, checkpoint))
    assert after == before.replace('"prompt_adapter": null', '"prompt_adapter": "ask_adapter"') != before
    held, written = (load_file(each / "adapter_model.safetensors") for each in (trained[1], folder))
    assert written.keys() == held.keys() and any("mask_embedding" in name for name in held)
    assert all(each.dtype == torch.bfloat16 and torch.equal(each.float(), held[name]) for name, each in written.items())
    own, wanted = (json.loads((each / "config.json").read_text()) for each in (folder, trained[1]))
    assert own == {name: value for name, value in wanted.items() if name != "auto_map"} | {
        "base_models": {"model": ".."}
    }
    assert own["prompt_template"] == TEMPLATE and not own["reconstruction_only"] and own["prompt_adapter"] is None
    described, wanted = (json.loads((each / "adapter_config.json").read_text()) for each in (folder, trained[1]))
    assert described == wanted | {"base_model_name_or_path": ".."}
    assert not [each for name in FILES if str(base.parent).encode() in (each := (folder / name).read_bytes())]
    with safe_open(folder / FILES[2], "pt") as file:
        assert file.metadata()[TRAINED_ON] == C3Model.from_pretrained(base).latent_provenance().weights_fingerprint
    assert (folder / FILES[2]).stat().st_mode == (folder / "config.json").stat().st_mode


def test_an_adapter_without_a_config_takes_that_of_its_base(base, trained, checkpoint, tmp_path):
    model = adapted(C3Model.from_pretrained(base), **READING)
    save_adapter(model, tmp_path / "adapter")
    assert attach_adapter(tmp_path / "adapter", checkpoint, "answers").compared
    wanted = json.loads((base / "config.json").read_text()) | {"reconstruction_only": False}
    wanted |= {"base_models": {"model": ".."}}
    del wanted["auto_map"]
    assert json.loads((checkpoint / "answers" / "config.json").read_text()) == wanted
    loaded = C3Model.from_pretrained(checkpoint)
    assert loaded.config.prompt_adapter == "answers"
    latents = loaded.compress(TEXTS[0])
    # Of what the base was trained for the model in hand knows.
    model.config.reconstruction_only = False
    assert answer(loaded, latents) == answer(model.get_base_model(), latents)
    # As checkpoints of a run are, whose base has another config than the checkpoint.
    alone = tmp_path / "alone"
    shutil.copytree(trained[1], alone, ignore=shutil.ignore_patterns("config.json", "*.py"))
    assert attach_adapter(alone, checkpoint, "answers").compared
    loaded = C3Model.from_pretrained(checkpoint)
    assert answer(loaded, latents) == answer(trained[0], latents)
    assert loaded.answering().config.prompt_template == TEMPLATE


def test_one_of_the_same_name_is_replaced(attach, trained, checkpoint, tmp_path):
    """Also what is left of one that was cut off before config.json named it."""
    (checkpoint / "ask_adapter").mkdir()
    (checkpoint / "ask_adapter" / "config.json").write_text("{}")
    adapter = shutil.copytree(trained[1], tmp_path / "adapter")
    assert attach(adapter)[0] == 0
    change(adapter / "config.json", reconstruction_prompt="again: ", base_models={"model": str(tmp_path / "gone")})
    code, said = attach(adapter)
    assert code == 0 and said.endswith(" MB; the base that it was trained on is not there to be compared with")
    assert json.loads((checkpoint / "ask_adapter" / "config.json").read_text())["reconstruction_prompt"] == "again: "
    own = json.loads((checkpoint / "ask_adapter" / "config.json").read_text())
    assert own["reconstruction_prompt"] == "again: "
    code, said = attach(trained[1], checkpoint, "--folder", "other")
    assert code == 2 and "has a prompt adapter already, in 'ask_adapter': give its name with --folder" in said
    assert not list(checkpoint.glob("*.tmp"))


@pytest.mark.parametrize("settings", [{}, {"parts": ["decoder"]}, {"parts": ["encoder"], "train_queries": False}])
def test_adapters_that_change_latents(settings, attach, base, tmp_path):
    save_adapter(adapted(C3Model.from_pretrained(base), **settings), tmp_path / "adapter")
    code, said = attach(tmp_path / "adapter")
    assert code == 2 and f"{tmp_path / 'adapter'} changes how latents are made" in said


def test_what_cannot_be_attached(attach, make_model, trained, checkpoint, tmp_path):
    def refused(*arguments):
        code, said = attach(*arguments)
        assert code == 2 and said.startswith("c3: error: ")
        return said

    def other(**options):
        folder = tmp_path / f"other-{len(list(tmp_path.iterdir()))}"
        make_model(**options).save_pretrained(folder)
        return folder

    adapter, files = trained[1], sorted(checkpoint.rglob("*"))
    config = (checkpoint / "config.json").read_text()
    assert f"{adapter} does not fit {tmp_path}" in refused(adapter, other(decoder_width=16))
    assert "whose weights, config or tokenizer are not those of" in refused(adapter, other(seed=1))
    assert "is an adapter itself" in refused(adapter, adapter)
    assert f"There is no folder {tmp_path / 'gone'}" in refused(adapter, tmp_path / "gone")
    assert "holds no adapter_config.json" in refused(checkpoint)
    for name in ("a/b", "..", "", "tokenizer.json"):
        assert "folder" in refused(adapter, checkpoint, "--folder", name)
    (checkpoint / "docs").mkdir()
    (checkpoint / "docs" / "lora.md").touch()
    assert "docs exists already, and is no prompt adapter" in refused(adapter, checkpoint, "--folder", "docs")
    shutil.rmtree(checkpoint / "docs")
    repeats = shutil.copytree(adapter, tmp_path / "repeats")
    change(repeats / "config.json", reconstruction_only=True)
    assert "was trained to give texts back and for no prompts" in refused(repeats)
    assert sorted(checkpoint.rglob("*")) == files and (checkpoint / "config.json").read_text() == config
    change(checkpoint / "config.json", base_models={"model": "org/c3"})
    assert "leaves its weights to 'org/c3'" in refused()
    change(checkpoint / "config.json", base_models=None)
    (checkpoint / "model.safetensors").unlink()
    assert "holds no weights" in refused()


def test_an_attached_adapter_is_trained_on(attach, base, checkpoint, tmp_path):
    """
    A new one begins with its weights, in float32, and with the base's norms, if it is to have norms as well; one of
    another rank, scale or place is refused.
    """
    attach()
    settings = {"r": 2, "init_from": str(checkpoint / "ask_adapter"), **READING}
    held = load_file(checkpoint / "ask_adapter" / "adapter_model.safetensors")
    norms = {name: each for name, each in load_file(base / "model.safetensors").items() if "norm.weight" in name}
    norms = {f"base_model.model.{name}": each for name, each in norms.items() if name.startswith("decoder")}
    for train_norms, begun in ((False, held), (True, held | norms)):
        model = add_lora(C3Model.from_pretrained(base), LoraSettings(**settings, train_norms=train_norms))
        again = get_peft_model_state_dict(model, save_embedding_layers=False)
        assert again.keys() == begun.keys() and norms
        for name, each in again.items():
            assert each.dtype == torch.float32 and torch.equal(each, begun[name].float())
    save_adapter(model, tmp_path)
    for changed, said in (
        ({"init_from": str(tmp_path)}, "lora.init_from holds trained norms: set lora.train_norms: true"),
        ({"r": 4}, "lora.r is 4, but that of lora.init_from is 2"),
        ({"alpha": 2}, "lora.alpha is 2, but that of lora.init_from is 32"),
        ({"use_rslora": True}, "lora.use_rslora is True"),
        (
            {"init_from": str(base)},
            "lora.init_from must be the folder of an adapter; there is no .*adapter_config.json",
        ),
        ({"target_modules": ["q_proj"]}, "holds an adapter on other layers or parts than lora asks for"),
    ):
        with pytest.raises(ValueError, match=said):
            add_lora(C3Model.from_pretrained(base), LoraSettings(**settings | changed))


def test_a_run_from_it_begins_without_it(attach, checkpoint, load_training):
    """The adapter is for the weights as they were."""
    attach()
    recipe = load_training("from-attached", f"init_from={checkpoint}", "model={}", "tokenizer=null")
    assert C3Model.from_pretrained(checkpoint).config.prompt_adapter == "ask_adapter"
    assert start_config(recipe).prompt_adapter is build(recipe).config.prompt_adapter is None
