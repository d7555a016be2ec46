"""The decoder alone computes what it does in the model. Run: pytest tests/convert/test_export_decoder.py"""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapted_models import as_if_trained
from c3 import C3Model
from c3.cli.main import main
from c3.convert.export_decoder import export_decoder
from c3.decoder_rows_c3 import LatentSpan
from c3.training.optim.lora import LoraSettings, add_lora, save_adapter
from tiny_models import LONG

GREEDY = {"do_sample": False, "max_new_tokens": 12}


def rows_of_embeddings(model, latents, prompt):
    spans = [
        LatentSpan(int(count), int(length))
        for count, length in zip(latents.latent_lengths, latents.text_lengths, strict=True)
    ]
    inputs = model.processor.decoder_inputs([model.processor.row(spans, prompt)])
    assert inputs["position_ids"].flatten().tolist() == list(range(inputs["input_ids"].shape[1]))
    return model.embed_prompt(inputs["input_ids"], latents.values)


@pytest.mark.parametrize("options", [{}, {"decoder_width": 48}], ids=["shared embeddings", "its own"])
def test_it_answers_as_the_model_does(options, make_model, tmp_path, capsys):
    make_model("uniform", **options).save_pretrained(tmp_path / "c3")
    assert main(["export-decoder", str(tmp_path / "c3"), str(tmp_path / "decoder")]) == 0
    # DeepSpeed, where it is installed, says something first.
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{tmp_path / 'decoder'}: ")

    model = C3Model.from_pretrained(tmp_path / "c3").eval()
    latents = model.compress(LONG, num_latents=4)
    decoder = AutoModelForCausalLM.from_pretrained(tmp_path / "decoder").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "decoder")
    assert type(decoder) is type(model.decoder)
    with torch.no_grad():
        ids = decoder.generate(inputs_embeds=rows_of_embeddings(model, latents, "Who?"), **GREEDY)
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == model.generate(latents, "Who?", **GREEDY)
    assert decoder.generation_config.eos_token_id == model.generation_config.eos_token_id


def test_what_it_says_and_refuses(make_model, tmp_path, capsys):
    model = make_model("uniform", prompt_positions="among_text", reconstruction_only=True)
    model.save_pretrained(tmp_path / "c3")
    written = export_decoder(str(tmp_path / "c3"), tmp_path / "decoder", "bfloat16")
    assert [line.split(" ")[0] for line in written[1:]] == ["Prompts", "This"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "decoder", dtype="auto").dtype == torch.bfloat16

    adapted = add_lora(C3Model.from_pretrained(tmp_path / "c3"), LoraSettings(r=2))
    as_if_trained(adapted)
    save_adapter(adapted, tmp_path / "adapter")
    for source, output, message in (
        ("c3", "decoder", "exists: name a new or an empty folder"),
        ("adapter", "new", "is an adapter: merge it first"),
        ("none", "new", "there is no folder"),
    ):
        assert main(["export-decoder", str(tmp_path / source), str(tmp_path / output)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
