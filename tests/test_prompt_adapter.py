"""
Prompts answered with an adapter of the checkpoint's own, texts given back without it. Run: pytest
tests/test_prompt_adapter.py
"""

import json
import shutil
import sys

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from safetensors.torch import load_file, save_file
from transformers import TextStreamer

from adapted_models import ASKING, save_with_prompt_adapter
from c3 import C3Latents, C3Model, C3Processor, CompressionWarning
from c3.cli.main import main
from c3.prompt_adapter_c3 import TRAINED_ON, decoder_that_answers
from c3.window_decoding_c3 import prompt_embeds
from tiny_models import LONG, TEXTS

GREEDY = {"do_sample": False, "max_new_tokens": 6}
PROMPTS = ["Who?", "What is it about, and who was there?"]


@pytest.fixture(scope="module")
def folder(make_model, tmp_path_factory):
    """A checkpoint with a prompt adapter."""
    folder = tmp_path_factory.mktemp("asked") / "checkpoint"
    save_with_prompt_adapter(make_model(), folder)
    return folder


@pytest.fixture(scope="module")
def plain(make_model):
    """The model without the adapter, which may be asked."""
    return make_model()


@pytest.fixture(scope="module")
def adapted(make_model, tokenizer, tmp_path_factory):
    """The model with the adapter always on, as PEFT attaches it, and with the adapter's template."""
    model = make_model()
    save_with_prompt_adapter(model, tmp_path_factory.mktemp("other") / "checkpoint")
    model.config.reconstruction_only, model.config.prompt_template = False, ASKING
    model.processor = C3Processor.from_config(model.config, tokenizer)
    return model


@pytest.fixture
def model(folder):
    return C3Model.from_pretrained(folder)


def test_prompts_and_texts(model, plain, adapted):
    """Every way to ask goes with the adapter, every way to get the text back without it."""
    latents = model.compress([LONG, TEXTS[1]], ratio=4)
    assert torch.equal(latents.values, plain.compress([LONG, TEXTS[1]], ratio=4).values)
    texts = plain.expand(latents, allow_mismatch=True)
    assert model.expand(latents) == texts != adapted.expand(latents, allow_mismatch=True)
    prompt = model.config.reconstruction_prompt
    assert model.generate(latents) == model.generate(latents, prompt) == model.generate(latents, [prompt] * 2) == texts
    assert model.generate(latents, num_beams=1) == plain.generate(latents, num_beams=1, allow_mismatch=True)

    one, options = latents[0], {"allow_mismatch": True, **GREEDY}
    assert not model.only_repeats()
    for asked in (
        (latents, PROMPTS[0]),
        (latents, PROMPTS),
        (one, PROMPTS),
        ([one, "and a text", latents[1]], PROMPTS[1]),
    ):
        answers = model.generate(*asked, **GREEDY)
        assert answers == adapted.generate(*asked, **options) != plain.generate(*asked, **options)
    chunked = {"compress_every": 8, "ratio": 2, **options}
    assert model.generate(None, LONG, **chunked) == adapted.generate(None, LONG, **chunked)
    assert model.chat(LONG, PROMPTS, **GREEDY) == adapted.chat(LONG, PROMPTS, **GREEDY)
    assert model.chat(TEXTS[1]) == plain.chat(TEXTS[1])
    # After all that the text comes back as before.
    assert model.expand(latents) == texts
    with pytest.raises(TypeError, match="prompt must be a string"):
        model.generate(latents, 5)
    with pytest.raises(ValueError, match="ask for the text itself"):
        model.generate(latents, [PROMPTS[0], prompt])


def test_windows_read_as_their_text(model, plain):
    """`raw_below` expands windows, which goes without the adapter, and corrections are made so."""
    latents = model.compress(LONG, ratio=4, exact=True)
    assert latents.corrections == plain.compress(LONG, ratio=4, exact=True).corrections
    assert model.expand(latents) == LONG
    raw = model.generate(latents, PROMPTS[0], raw_below=1.1, **GREEDY)
    assert raw == model.generate([LONG], PROMPTS[0], **GREEDY)


def test_messages(model, adapted):
    template = "{% for m in messages %}{{ m.content }}|{% endfor %}"
    latents = model.compress(TEXTS[0], ratio=4)
    messages = [
        {"role": "user", "content": [{"type": "context", "latents": latents}, {"type": "text", "text": "Who?"}]}
    ]
    for each in (model, adapted):
        each.processor.tokenizer.chat_template = template
    try:
        answer = adapted.generate(messages, allow_mismatch=True, **GREEDY)
        assert model.generate(messages, **GREEDY) == answer
        asked = [{"role": "user", "content": "Who?"}]
        assert model.generate(latents, asked, **GREEDY) == adapted.generate(
            latents, asked, allow_mismatch=True, **GREEDY
        )
    finally:
        adapted.processor.tokenizer.chat_template = None


def test_it_shares_the_weights(model, plain):
    """No weight is there twice, the model itself has no adapter, and what is asked follows where it goes."""
    answering = model.answering()
    assert answering is model.answering() and answering.answering() is answering
    ours = {id(each) for each in model.parameters()}
    new = [name for name, each in answering.named_parameters() if id(each) not in ours]
    assert new and all("lora_" in name or "norm.modules_to_save" in name or name.startswith("mask_") for name in new)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert answering.processor.tokenizer is model.processor.tokenizer
    latents = model.compress(TEXTS[0], ratio=4)
    assert answering.expand(latents) == model.expand(latents)
    assert latents.provenance == model.latent_provenance() and "adapter" not in latents.provenance.model_name

    answer = model.generate(latents, "Who?", **GREEDY)
    model.to(torch.bfloat16)
    assert model.answering().dtype == torch.bfloat16 and model.answering() is not answering
    model.to(torch.float32)
    assert model.generate(latents, "Who?", **GREEDY) == answer


def test_hooks_and_training(folder, adapted):
    """What others have put on the model itself goes on to its own decoder; asking leaves it as trainable as it was."""
    model = C3Model.from_pretrained(folder).train()
    model.projector.requires_grad_(False)
    trained = {name: (each.requires_grad, each.data_ptr()) for name, each in model.named_parameters()}
    add_hook_to_module(model, ModelHook())
    add_hook_to_module(model.decoder.model.layers[0], ModelHook())
    latents = model.compress(TEXTS[0], ratio=4)
    assert model.generate(latents, "Who?", **GREEDY) == adapted.generate(latents, "Who?", allow_mismatch=True, **GREEDY)
    assert {name: (each.requires_grad, each.data_ptr()) for name, each in model.named_parameters()} == trained
    assert all(each.training for each in model.modules())
    with pytest.raises(ValueError, match="save that one, with its adapter"):
        model.answering().save_pretrained("nowhere")


def test_windows_are_those_of_the_model(folder, tmp_path):
    """What the adapter's config says of windows and ratios has no part: it would be of latents that are not made."""
    shutil.copytree(folder, tmp_path / "other")
    own = json.loads((folder / "ask_adapter/config.json").read_text())
    changed = {"ratio_range": [1, 2], "default_window": 8, "num_latents": 4}
    (tmp_path / "other/ask_adapter/config.json").write_text(json.dumps(own | changed))
    model = C3Model.from_pretrained(tmp_path / "other")
    plan = model.answering().plan_windows(LONG)
    assert plan.num_latents == model.plan_windows(LONG).num_latents == model.compress(LONG).latent_lengths.tolist()
    assert model.chat(LONG, "Who?", **GREEDY) == C3Model.from_pretrained(folder).chat(LONG, "Who?", **GREEDY)


def test_ids_alone_are_for_weights_that_answer(model):
    with pytest.raises(ValueError, match="trained to read nothing else .* Give latents or messages first"):
        model.generate(input_ids=torch.tensor([[1, 2]]))


def test_another_processor_and_other_weights(folder, tokenizer):
    """Prompts go with the processor that the model has now; the adapter says where it was trained for other weights."""
    model = C3Model.from_pretrained(folder)
    latents = model.compress(TEXTS[0], ratio=4)
    before = model.answering()
    model.processor = C3Processor.from_config(model.config, tokenizer)
    assert model.answering() is not before and model.answering().processor.tokenizer is tokenizer
    path = folder / "ask_adapter/adapter_model.safetensors"
    weights = load_file(path)
    try:
        save_file(weights, path, metadata={"format": "pt", TRAINED_ON: "0123456789abcdef"})
        with pytest.warns(CompressionWarning, match="ask_adapter was trained for other weights than this model has"):
            C3Model.from_pretrained(folder).generate(latents, "Who?", **GREEDY)
        save_file({name: each for name, each in weights.items() if "layers.1" not in name}, path)
        with pytest.raises(ValueError, match="answers prompts is not for this model: .* is in one of them only"):
            C3Model.from_pretrained(folder).generate(latents, "Who?")
    finally:
        save_file(weights, path, metadata={"format": "pt"})


def test_rows_of_ones_own(model, adapted):
    """`answering()` for those who lay out rows: its template, and transformers' `generate`."""
    latents = model.compress(TEXTS[0], ratio=4)
    answering = model.answering()
    row = answering.processor.row(latents.spans[0], "Who?")
    with torch.no_grad():
        inputs = prompt_embeds(answering, [row], latents.values)
        assert torch.allclose(answering(**inputs).logits, adapted(**inputs).logits, atol=1e-5)
        assert not torch.allclose(answering(**inputs).logits, model(**inputs).logits, atol=1e-2)


def test_decoder_for_other_programs(model, adapted):
    """The adapter is merged into a copy of the decoder; the model's own stays."""
    before = {name: each.clone() for name, each in model.state_dict().items()}
    decoder = decoder_that_answers(model)
    assert list(decoder.state_dict()) == list(model.decoder.state_dict())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    latents = model.compress(TEXTS[0], ratio=4)
    with torch.no_grad():
        inputs = prompt_embeds(adapted, [adapted.processor.row(latents.spans[0], "Who?")], latents.values)
        assert torch.allclose(decoder(**inputs).logits, adapted(**inputs).logits, atol=1e-4)
        assert not torch.allclose(decoder(**inputs).logits, model.decoder(**inputs).logits, atol=1e-2)
    assert decoder_that_answers(adapted) is adapted.decoder


def test_saved_and_loaded_again(model, folder, tmp_path):
    latents = model.compress(TEXTS[0], ratio=4)
    answer = model.generate(latents, "Who?", **GREEDY)
    model.save_pretrained(tmp_path / "again")
    assert {each.name for each in (tmp_path / "again/ask_adapter").iterdir()} == {
        each.name for each in (folder / "ask_adapter").iterdir()
    }
    again = C3Model.from_pretrained(tmp_path / "again")
    again.save_pretrained(tmp_path / "again")  # where its adapter lies already
    assert C3Model.from_pretrained(tmp_path / "again").generate(latents, "Who?", **GREEDY) == answer

    shutil.rmtree(tmp_path / "again/ask_adapter")
    with pytest.raises(OSError, match="ask_adapter"):
        again.save_pretrained(tmp_path / "third")
    assert not (tmp_path / "third").exists()
    broken = C3Model.from_pretrained(tmp_path / "again")
    assert broken.expand(latents) == model.expand(latents)
    with pytest.raises(OSError, match="ask_adapter"):
        broken.generate(latents, "Who?")


def test_without_peft(model, monkeypatch):
    latents = model.compress(TEXTS[0], ratio=4)
    monkeypatch.setattr(sys.modules[type(model).answering.__module__], "is_peft_available", lambda: False)
    assert model.expand(latents)
    with pytest.raises(ImportError, match="checkpoint holds an adapter, which needs peft: pip install peft"):
        model.generate(latents, "Who?")


def test_weights_that_take_no_adapter(folder, tmp_path):
    """Offloaded ones would answer anything, quantized ones are refused by PEFT; both are said, and texts come back."""
    from torch.ao.quantization import quantize_dynamic

    options = {"max_memory": {"cpu": "100KB"}, "offload_folder": tmp_path}
    offloaded = C3Model.from_pretrained(folder, device_map="auto", **options)
    assert any(each.is_meta for each in offloaded.parameters())
    quantized = quantize_dynamic(C3Model.from_pretrained(folder), {torch.nn.Linear}, dtype=torch.qint8)
    for model, said in (
        (offloaded, "none can be attached to weights offloaded"),
        (quantized, "adapter that answers prompts cannot be attached: Target module"),
    ):
        latents = model.compress(TEXTS[0], ratio=4)
        assert isinstance(model.expand(latents), str)
        with pytest.raises(ValueError, match=said):
            model.generate(latents, "Who?")


def test_streamed(model, adapted, capsys):
    latents = model.compress(TEXTS[0], ratio=4)
    streamer = TextStreamer(model.processor.tokenizer, skip_prompt=False)
    answer = model.generate(latents, "Who?", streamer=streamer, **GREEDY)
    assert answer == adapted.generate(latents, "Who?", allow_mismatch=True, **GREEDY)
    assert answer and answer in capsys.readouterr().out


def test_commands(model, folder, tmp_path, capsys):
    """`c3 ask` answers as `generate`; `c3 export-decoder` writes the decoder that answers."""
    (tmp_path / "a.txt").write_text(TEXTS[0], encoding="utf-8")
    latents = model.compress(TEXTS[0])
    answer = model.generate(latents, PROMPTS, max_new_tokens=6)
    asked = ["-q", PROMPTS[0], "-q", PROMPTS[1], "--max-new-tokens", "6", "--model", str(folder), "--quiet"]
    assert main(["ask", str(tmp_path / "a.txt"), *asked]) == 0
    out = capsys.readouterr().out
    assert out == "".join(f"{prompt} {each}\n" for prompt, each in zip(PROMPTS, answer, strict=True))
    assert main(["export-decoder", str(folder), str(tmp_path / "decoder")]) == 0
    assert "answers no prompts" not in capsys.readouterr().out
    from transformers import AutoModelForCausalLM

    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "decoder")
    inputs = prompt_embeds(
        model.answering(), [model.answering().processor.row(latents.spans[0], "Who?")], latents.values
    )
    with torch.no_grad():
        assert torch.allclose(exported(**inputs).logits, model.answering()(**inputs).logits, atol=1e-4)


@pytest.mark.parametrize("name", ["", "../elsewhere", "a/b", "/tmp", 5])
def test_folders_that_are_none(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "bad")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "bad/config.json").write_text(json.dumps(config | {"prompt_adapter": name}))
    with pytest.raises(ValueError, match="prompt_adapter must be the name of a folder within the checkpoint"):
        C3Model.from_pretrained(tmp_path / "bad")


def test_latents_from_a_file(model, folder, tmp_path):
    path = tmp_path / "a.c3"
    model.compress(TEXTS[0], ratio=4).save(path)
    assert isinstance(C3Model.from_pretrained(folder).generate(C3Latents.load(path), "Who?", **GREEDY), str)
