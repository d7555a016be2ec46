"""Adapters merged into their base. Run: pytest tests/training/test_merge_lora.py"""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from adapted_models import prints, tell
from c3 import C3Model, C3Processor
from c3.cli.main import main
from c3.latents_c3 import LatentMismatchError
from c3.training.optim.lora import save_adapter
from c3.training.publish.merge_lora import merge_lora
from fresh_processes import run_fresh
from tiny_models import TEXTS


def test_latents_of_the_merged_model(adapt, adapter, tmp_path):
    """Merging rounds: another model by its fingerprint, the same to whoever overrides that."""
    model = adapt()
    latents, texts = tell(model)
    merged = merge_lora(adapter, tmp_path / "merged")
    assert merged.latent_provenance() == C3Model.from_pretrained(tmp_path / "merged").latent_provenance()
    with pytest.raises(LatentMismatchError, match=r"made by '\w+ \+ adapter default' .* but the model is 'merged' "):
        merged.expand(latents)
    assert merged.expand(latents, allow_mismatch=True) == texts
    model.merge_adapter()  # in place, to be taken back
    assert prints(model) == prints(merged)
    model.unmerge_adapter()


@pytest.mark.parametrize(
    "options",
    [{}, {"tie_word_embeddings": True}, {"layout": "appended", "use_mask_embedding": False, "projector": "mlp"}],
)
def test_merging(options, make_model, adapt, tmp_path, capsys):
    make_model(**options).save_pretrained(tmp_path / "base")
    model = adapt(tmp_path / "base", use_dora=True)
    save_adapter(model, tmp_path / "adapter")
    assert main(["merge-lora", str(tmp_path / "adapter"), str(tmp_path / "merged")]) == 0
    assert capsys.readouterr().out == f"Merged: {tmp_path / 'merged'}\n"
    assert not list((tmp_path / "merged").glob("adapter_*"))
    base, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "merged"))
    assert {name: each.shape for name, each in base.items()} == {name: each.shape for name, each in merged.items()}

    loaded, report = C3Model.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values())
    assert loaded.config.tie_word_embeddings == bool(options.get("tie_word_embeddings"))
    latents, texts = tell(model)
    torch.testing.assert_close(tell(loaded)[0].values, latents.values, atol=1e-4, rtol=1e-4)
    assert tell(loaded)[1] == texts
    # PEFT's own merge leaves a config that would lose the shared embeddings.
    model.merge_and_unload().save_pretrained(tmp_path / "by hand")
    assert tell(C3Model.from_pretrained(tmp_path / "by hand"))[1] == texts


def test_merging_keeps_the_dtype_of_the_base(make_model, adapt, tmp_path):
    make_model().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    save_adapter(adapt(tmp_path / "base", dtype="auto"), tmp_path / "adapter")
    merge_lora(tmp_path / "adapter", tmp_path / "merged")
    assert {each.dtype for each in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.bfloat16}


def test_what_cannot_be_merged(make_model, adapter, checkpoint, tmp_path, capsys):
    output = str(tmp_path / "merged")

    def error(*arguments):
        assert main(["merge-lora", *map(str, arguments)]) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert message.startswith("c3: error: ")
        return message

    assert "Can't find 'adapter_config.json'" in error(checkpoint, output)
    assert f"{checkpoint} exists already: choose another output folder" in error(adapter, checkpoint)
    for options, message in (
        ({"encoder_width": 16}, "size mismatch for base_model.model.projector"),
        ({"use_mask_embedding": False}, "'base_model.model.mask_embedding.weight' is in one of them only"),
        ({"projector": "mlp"}, "'base_model.model.projector.linear_2.weight' is in one of them only"),
    ):
        other = tmp_path / "-".join(map(str, options.values()))
        make_model(**options).save_pretrained(other)
        assert f"{adapter} does not fit {other}: {message}" in error(adapter, output, "--base", other)
    config = json.loads((adapter / "adapter_config.json").read_text())
    for base, message in (
        (str(tmp_path / "gone"), f"It is the base of {adapter}; if it is elsewhere, say where with --base."),
        (None, "give it with --base"),
    ):
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
        assert message in error(adapter, output)
    assert not (tmp_path / "merged").exists()
    (adapter / "processor_config.json").unlink()
    assert main(["merge-lora", str(adapter), output, "--base", str(checkpoint)]) == 0
    assert C3Processor.from_pretrained(output).encode(TEXTS[0])


SCRIPT = """
import sys
from pathlib import Path
from transformers import AutoModel
for folder in sys.argv[1:]:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules"), type(model)
    latents = model.compress("one short text")
    print("peft" in sys.modules, latents.provenance.weights_fingerprint, ascii(model.expand(latents)))
"""


def test_as_remote_code(adapt, adapter, tmp_path):
    """In a fresh process without c3, through the code that the base's folder holds; the merged one needs no PEFT."""
    merged = merge_lora(adapter, tmp_path / "merged")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    result = run_fresh(SCRIPT, tmp_path / "merged", adapter, variables=variables, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    expected = [
        f"{needs_peft} {prints(model)} {ascii(model.expand(model.compress('one short text')))}"
        for needs_peft, model in ((False, merged), (True, adapt()))
    ]
    assert result.stdout.splitlines() == expected
