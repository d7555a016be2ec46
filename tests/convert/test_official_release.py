"""A checkpoint in the authors' layout gives what their own forward pass gave."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from authors_layout_models import TOLERANCE, equal, tensors
from c3.convert.from_authors import convert_from_authors
from c3.convert.to_authors import convert_to_authors

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
OFFICIAL = SHARED / "official_layout"
needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="no checkpoint in the authors' layout at hand")


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The official checkpoint converted, and its cases, `list[dict[str, torch.Tensor]]`."""
    output = tmp_path_factory.mktemp("official") / "converted"
    convert_from_authors(OFFICIAL, output)
    cases = {}
    for key, value in load_file(OFFICIAL / "expected.safetensors").items():
        case, name = key.split(".")
        cases.setdefault(int(case), {})[name] = value
    return AutoModel.from_pretrained(output).eval(), [cases[case] for case in sorted(cases)]


def pad(rows, fill):
    longest = max(map(len, rows))
    ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0), value=fill) for row in rows])
    return ids, torch.stack([torch.arange(longest) >= longest - len(row) for row in rows]).long()


@needs_official
@torch.no_grad()
def test_official_latents_and_logits(official):
    model, cases = official
    for case in cases:
        output = model(input_ids=case["input_ids"][None], context_input_ids=case["context_ids"][None])
        torch.testing.assert_close(output.latents, case["latents"], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(output.logits[0, -1], case["logits_last"], atol=TOLERANCE, rtol=0)


@needs_official
@torch.no_grad()
def test_official_batch(official):
    """Different lengths in one batch, padded on the left."""
    model, cases = official
    # The prompts differ in length too.
    prompts = [torch.cat([torch.tensor([5, 9, 2, 30])[:i], case["input_ids"]]) for i, case in enumerate(cases)]
    single = [
        model(input_ids=prompt[None], context_input_ids=case["context_ids"][None]).logits[0, -1]
        for prompt, case in zip(prompts, cases, strict=True)
    ]
    torch.testing.assert_close(single[0], cases[0]["logits_last"], atol=TOLERANCE, rtol=0)
    input_ids, attention_mask = pad(prompts, 0)
    context_ids, context_mask = pad([case["context_ids"] for case in cases], 0)
    output = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        context_input_ids=context_ids,
        context_attention_mask=context_mask,
    )
    torch.testing.assert_close(output.latents, torch.cat([c["latents"] for c in cases]), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(output.logits[:, -1], torch.stack(single), atol=TOLERANCE, rtol=0)


@needs_official
@pytest.mark.parametrize("use_cache", [True, False])
def test_official_greedy_tokens(official, use_cache):
    model, cases = official
    context_ids, context_mask = pad([case["context_ids"] for case in cases], 0)
    input_ids, attention_mask = pad([case["input_ids"] for case in cases], 0)
    settings = {"max_new_tokens": len(cases[0]["greedy"]), "do_sample": False, "use_cache": use_cache}
    together = model.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        context_input_ids=context_ids,
        context_attention_mask=context_mask,
        **settings,
    )
    for case, row in zip(cases, together, strict=True):
        inputs = {"input_ids": case["input_ids"][None], "context_input_ids": case["context_ids"][None]}
        assert model.generate(**inputs, **settings)[0].tolist() == case["greedy"].tolist()
        assert row.tolist() == case["greedy"].tolist()


@needs_official
def test_official_there_and_back(tmp_path):
    convert_from_authors(OFFICIAL, tmp_path / "ours")
    convert_to_authors(tmp_path / "ours", tmp_path / "theirs")
    for part in ("", "llm1"):
        assert equal(tensors(OFFICIAL / part), tensors(tmp_path / "theirs" / part))
        before, after = (
            json.loads((each / part / "config.json").read_text()) for each in (OFFICIAL, tmp_path / "theirs")
        )
        # Without use_sliding_window its size means nothing, and transformers 5 drops it.
        before["sliding_window"] = None
        assert before == {name: after[name] for name in before}


@needs_official
def test_without_tokenizer_ids_work_and_text_is_refused(official):
    with pytest.raises(
        ValueError, match="No processor .*: it holds no processor_config.json. .*assign model.processor"
    ):
        official[0].compress("text")
