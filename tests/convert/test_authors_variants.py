"""Checkpoints in the authors' layout with other sizes and settings than the official ones, against plain Qwen2."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from authors_release import read_weights, run_as_the_authors, write_release
from c3.convert.from_authors import convert_from_authors
from c3.convert.to_authors import convert_to_authors
from fresh_processes import run_fresh

TOLERANCE = 1e-4
STEPS = 12
BOTH_TIED = {"encoder": {"tie_word_embeddings": True}, "decoder": {"tie_word_embeddings": True}}
MIXED = {"model.norm.weight": torch.float32, "model.Q.weight": torch.float32, "lm_head.weight": torch.float16}


def both(**settings):
    return {"encoder": dict(settings), "decoder": dict(settings)}


VARIANTS = {
    "untied, theta 1e6": {},
    "tied, theta 1e4": both(tie_word_embeddings=True, rope_theta=10000.0),
    "encoder tied, decoder not": {"encoder": {"tie_word_embeddings": True}},
    "decoder tied, encoder not": {"decoder": {"tie_word_embeddings": True}},
    "heads beside tied embeddings": BOTH_TIED | {"heads": ("", "llm1")},
    "different theta": {"encoder": {"rope_theta": 5e5}, "decoder": {"rope_theta": 2e4}},
    "many heads, one of keys": both(num_attention_heads=8, num_key_value_heads=1, hidden_size=64),
    "as many heads of keys": both(num_attention_heads=4, num_key_value_heads=4, hidden_size=48, num_hidden_layers=1),
    "encoder wider": {"encoder": {"hidden_size": 72, "num_attention_heads": 6, "num_hidden_layers": 1}},
    "decoder's vocabulary larger": {"encoder": {"vocab_size": 310}, "decoder": {"vocab_size": 305}},
    "one latent": {"num_latents": 1},
    "64 latents": {"num_latents": 64},
    "shards": {"num_shards": 3},
    "bfloat16": {"dtype": lambda name: torch.bfloat16},
    "float16": {"dtype": lambda name: torch.float16},
    "mixed": {"dtype": lambda name: MIXED.get(name, torch.bfloat16)},
    "norms of other epsilon": both(rms_norm_eps=1e-2),
    "sliding window": both(use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "yarn": both(rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    "linear scaling": both(rope_scaling={"rope_type": "linear", "factor": 2.0}),
    "other activation": both(hidden_act="gelu"),
}


def pad_left(rows):
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])


@pytest.fixture(scope="module", params=VARIANTS)
def release(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    write_release(folder / "theirs", **VARIANTS[request.param])
    convert_from_authors(folder / "theirs", folder / "ours")
    return folder


@torch.no_grad()
def test_equals_plain_qwen2(release):
    """Latents, logits and greedy ids, one by one and in a padded batch, with a cache and without."""
    model = AutoModel.from_pretrained(release / "ours", dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(1)
    found, contexts, prompts = [], [], []
    for length, before, after in ((1, [], [3]), (23, [7, 5], [9, 2, 8]), (150, [7], [])):
        text_ids = torch.randint(300, (length,), generator=generator).tolist()
        *expected, context, prompt = run_as_the_authors(release / "theirs", text_ids, before, after, STEPS)
        found.append(expected)
        contexts.append(context)
        prompts.append(prompt)
    assert len({tuple(new) for _, _, new in found}) == 3  # or equality would say little
    context_ids, context_mask = pad_left(contexts)
    input_ids, attention_mask = pad_left(prompts)
    together = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "context_input_ids": context_ids,
        "context_attention_mask": context_mask,
    }
    output = model(**together)
    close(output.latents, torch.cat([latents for latents, _, _ in found]))
    close(output.logits[:, -1], torch.stack([logits for _, logits, _ in found]))
    for use_cache in (True, False):
        settings = {"max_new_tokens": STEPS, "do_sample": False, "use_cache": use_cache}
        rows = model.generate(**together, **settings).tolist()
        for row, (latents, logits, new), context, prompt in zip(rows, found, contexts, prompts, strict=True):
            alone = {"input_ids": torch.tensor([prompt]), "context_input_ids": torch.tensor([context])}
            output = model(**alone)
            close(output.latents, latents)
            close(output.logits[0, -1], logits)
            assert model.generate(**alone, **settings)[0].tolist() == new
            assert row == new


def close(left, right):
    torch.testing.assert_close(left, right, atol=TOLERANCE, rtol=0)


def test_there_and_back(release):
    convert_to_authors(release / "ours", release / "back")
    for part in ("", "llm1"):
        before, after = read_weights(release / "theirs" / part), read_weights(release / "back" / part)
        settings = json.loads((release / "theirs" / part / "config.json").read_text())
        if part or settings["tie_word_embeddings"]:
            before.pop("lm_head.weight", None)
        assert before.keys() == after.keys()
        for name, weight in before.items():
            assert weight.dtype == after[name].dtype
            assert torch.equal(weight.view(torch.uint8), after[name].view(torch.uint8))
    *before, _, _ = run_as_the_authors(release / "theirs", [1, 2, 3], [4], [5], 3)
    *after, _, _ = run_as_the_authors(release / "back", [1, 2, 3], [4], [5], 3)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1]) and before[2] == after[2]


SCRIPT = """
import json, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModel


class NoC3:  # as where only transformers is installed
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "c3":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, NoC3())
source, inputs, output = sys.argv[1:]
model = AutoModel.from_pretrained(source, trust_remote_code=True)
inputs = {name: torch.tensor([ids]) for name, ids in json.loads(inputs).items()}
with torch.no_grad():
    found = model(**inputs)
greedy = model.generate(**inputs, max_new_tokens=12, do_sample=False)
save_file({"latents": found.latents, "logits": found.logits[0, -1], "greedy": greedy[0]}, output)
"""


def test_with_nothing_but_transformers(tmp_path):
    write_release(tmp_path / "theirs", num_shards=2)
    convert_from_authors(tmp_path / "theirs", tmp_path / "ours")
    latents, logits, new, context_ids, input_ids = run_as_the_authors(
        tmp_path / "theirs", list(range(30)), [7], [3], STEPS
    )
    inputs = json.dumps({"input_ids": input_ids, "context_input_ids": context_ids})
    variables = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    run_fresh(
        SCRIPT, tmp_path / "ours", inputs, tmp_path / "found", variables=variables, folder=tmp_path
    ).check_returncode()
    found = load_file(tmp_path / "found")
    close(found["latents"], latents)
    close(found["logits"], logits)
    assert found["greedy"].tolist() == new
