"""A checkpoint that is gone on from with other settings. Run: pytest tests/training/test_init_config.py"""

import json

import pytest
import torch

from c3.training.checks import RecipeError
from c3.training.run.build import build


def test_fields_of_the_checkpoint_that_are_changed(make_model, load_training, tmp_path):
    """In config and processor, with the weights and the attention that were asked for as they are."""
    before = make_model(ratio_range=[4, 16])
    before.save_pretrained(tmp_path)
    start = [f"init_from={tmp_path}", "model={}", "tokenizer=null", "attn_implementation=eager"]
    changed = {"prompt_template": "{latents}{prompt}\n", "ratio_range": [2, 8]}
    model = build(load_training("changed", *start, f"init_config={json.dumps(changed)}"))
    for each in (model.config, model.processor):
        assert {name: getattr(each, name) for name in changed} == changed
    assert model.config.decoder_config._attn_implementation == "eager"
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))
    for field, said in (("prompt_template: no", "prompt_template"), ("ratio_range: [8, 2]", "ratio_range")):
        with pytest.raises(RecipeError, match=f"^init_config: .*{said}"):
            build(load_training("changed", *start, f"init_config={{{field}}}"))
