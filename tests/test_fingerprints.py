"""Fingerprints of configurations, weights and tokenizers. Run: pytest tests/test_fingerprints.py"""

import json
import re

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from c3 import fingerprints_c3
from c3.fingerprints_c3 import checksum_tensors, fingerprint_config, fingerprint_tensors, fingerprint_tokenizer
from gpu_stand_in import stand_in_gpu


def test_config():
    config = {"b": [1, 2.5, None], "a": {"hidden": 8, "id2label": {2: "x", 10: "y"}}, "window": (1, 2)}
    print_ = fingerprint_config(config)
    assert re.fullmatch("[0-9a-f]{16}", print_)
    assert fingerprint_config(dict(reversed(config.items()))) == print_
    assert fingerprint_config(json.loads(json.dumps(config))) == print_
    assert fingerprint_config({**config, "b": [1, 2.5, 0]}) != print_
    assert fingerprint_config({**config, "a": {**config["a"], "hidden": 9}}) != print_


def test_config_leaves_out_what_loading_changes():
    config = {"hidden": 8, "encoder": {"layers": 2}}
    loaded = {
        "hidden": 8,
        "encoder": {"layers": 2, "_name_or_path": "/tmp/x", "dtype": torch.bfloat16},
        "transformers_version": "5.23.0",
        "auto_map": {"AutoModel": "x"},
    }
    assert fingerprint_config(loaded) == fingerprint_config(config)
    with pytest.raises(TypeError, match="not JSON serializable"):
        fingerprint_config({"hidden": object()})


def test_tensors_notice_every_difference():
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    prints = [
        fingerprint_tensors(variant)
        for variant in (
            tensors,
            {},
            {"a": tensors["a"]},
            {**tensors, "a": tensors["a"].reshape(3, 2)},
            {**tensors, "a": tensors["a"].int()},
            {**tensors, "a": tensors["a"] + 1e-6},
            {**tensors, "b": torch.tensor(2)},
            {"c": tensors["a"], "b": tensors["b"]},
            {**tensors, "e": torch.zeros(0)},
        )
    ]
    assert len(set(prints)) == len(prints)
    assert all(re.fullmatch("[0-9a-f]{16}", print_) for print_ in prints)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.bool]
)
def test_tensors_of_every_dtype(dtype):
    weight = torch.arange(6).reshape(2, 3).to(dtype)
    assert fingerprint_tensors({"w": weight}) == fingerprint_tensors({"w": weight.clone()})
    large = torch.zeros(3000, 1000).to(dtype)
    assert fingerprint_tensors({"w": large}) == fingerprint_tensors({"w": large.clone()})
    assert fingerprint_tensors({"w": weight}) != fingerprint_tensors({"w": weight[:1]})


def test_tensors_ignore_order_layout_and_gradients():
    weight = torch.randn(5, 7)
    bias = torch.arange(3.0)
    print_ = fingerprint_tensors({"w": weight, "b": bias})
    strided = torch.nn.Parameter(weight.T.contiguous().T)
    assert fingerprint_tensors({"b": torch.arange(3.0).repeat_interleave(2)[::2], "w": strided}) == print_


@pytest.mark.parametrize("shape", [(4096, 300), (1 << 20,), (3, 400_000), (1, 500_000)])
def test_large_tensors_are_sampled(shape):
    weight = torch.zeros(shape)
    print_ = fingerprint_tensors({"w": weight})
    assert fingerprint_tensors({"w": weight.clone()}) == print_
    assert fingerprint_tensors({"w": weight + 1e-3}) != print_
    weight[-1] += 1  # the last row always counts: it may be a new token
    assert fingerprint_tensors({"w": weight}) != print_


def test_sample_is_small(monkeypatch):
    hashed = []

    class Spy:
        def update(self, data):
            hashed.append(memoryview(data).nbytes)

        def hexdigest(self):
            return "0" * 64

    monkeypatch.setattr(fingerprints_c3.hashlib, "sha256", Spy)
    fingerprint_tensors({"w": torch.zeros(4096, 512)})  # 8 MiB in rows of 2 KiB
    assert sum(hashed) < fingerprints_c3.SAMPLE_BYTES + 4096


def test_preparing_samples_is_sampling_what_was_prepared():
    tensors = {"large": torch.randn(2000, 600), "small": torch.randn(7, 3), "scalar": torch.tensor(1.5)}
    seen = []

    def prepare(tensor):
        seen.append(tensor.numel())
        return tensor.to(torch.bfloat16).abs()

    print_ = fingerprint_tensors(tensors, prepare)
    assert print_ == fingerprint_tensors({name: tensor.to(torch.bfloat16).abs() for name, tensor in tensors.items()})
    assert print_ != fingerprint_tensors(tensors)
    assert max(seen) * 2 < 2 * fingerprints_c3.SAMPLE_BYTES


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w[-1, -1].add_(1),
        lambda w: w.view(torch.uint8)[0, :1].bitwise_xor_(1),
        lambda w: w.copy_(w.flip(0)),
        lambda w: w.copy_(w.flip(1)),
        lambda w: w[:, ::2].neg_(),
        lambda w: w[:2].neg_(),
        lambda w: w[0, :2].copy_(w[0, :2].flip(0)),
    ],
)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("shape", [(1, 2), (2, 2), (64, 128), (512, 508)])
def test_a_checksum_notices_every_change(change, kind, shape):
    weights = {"a": torch.randint(1, 100, shape).to(kind), "b": torch.ones(3)}
    weights["a"][0, 0], weights["a"][-1, -1] = 101, 102
    before = checksum_tensors(weights)
    assert checksum_tensors({name: each.clone() for name, each in weights.items()}) == before
    was = weights["a"].clone()
    change(weights["a"])
    assert (checksum_tensors(weights) == before) == torch.equal(weights["a"], was)


def test_a_checksum_of_any_tensors():
    """Empty ones, scalars, views in the middle of a word, every dtype; and which name has which."""
    long = torch.arange(40, dtype=torch.uint8)
    tensors = {
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(1.5),
        "view": long[3:14],
        "transposed": long.view(5, 8).T,
    }
    tensors |= {str(kind): torch.ones(3).to(kind) for kind in (torch.bool, torch.float16, torch.float8_e4m3fn)}
    assert checksum_tensors(tensors) == checksum_tensors(tensors)
    one, two = torch.ones(3), torch.zeros(3)
    assert checksum_tensors({"a": one, "b": two}) != checksum_tensors({"a": two, "b": one})


def test_tensors_on_a_gpu():
    """The same fingerprint; a checksum of its own, of all tensors at once, that notices changes as well."""
    tensors = {"w": torch.randn(3000, 200), "b": torch.randn(7).bfloat16(), "c": torch.ones(3, dtype=torch.bool)}
    with stand_in_gpu():
        on_gpu = {name: tensor.to("cuda") for name, tensor in tensors.items()}
        assert fingerprint_tensors(on_gpu) == fingerprint_tensors(tensors)
        seen = [checksum_tensors(on_gpu)]
        assert checksum_tensors({name: each.clone() for name, each in on_gpu.items()}) == seen[0]
        for change in (
            lambda: on_gpu["w"][-1, -1].add_(1),
            lambda: on_gpu["w"].copy_(on_gpu["w"].flip(0)),
            lambda: on_gpu["b"][2:4].neg_(),
            lambda: on_gpu["c"].logical_not_(),
        ):
            change()
            assert checksum_tensors(on_gpu) not in seen
            seen.append(checksum_tensors(on_gpu))


def make_tokenizer(**more):
    vocabulary = {"[UNK]": 0, "[PAD]": 1, "a": 2, "b": 3, **more}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")


def test_tokenizer(tmp_path):
    tokenizer = make_tokenizer()
    print_ = fingerprint_tokenizer(tokenizer)
    assert re.fullmatch("[0-9a-f]{16}", print_)
    tokenizer(["a b a b", "a"], padding=True, truncation=True, max_length=3)  # leaves traces in the backend
    assert fingerprint_tokenizer(tokenizer) == print_
    tokenizer.save_pretrained(tmp_path)
    assert fingerprint_tokenizer(PreTrainedTokenizerFast.from_pretrained(tmp_path)) == print_
    assert fingerprint_tokenizer(make_tokenizer(c=4)) != print_
    tokenizer.add_tokens(["<latent>"], special_tokens=True)
    assert fingerprint_tokenizer(tokenizer) != print_


def test_a_tokenizer_is_read_once_until_it_changes(monkeypatch):
    tokenizer, read = make_tokenizer(), []
    loads = json.loads
    monkeypatch.setattr(fingerprints_c3.json, "loads", lambda text: read.append(1) or loads(text))
    prints = [fingerprint_tokenizer(tokenizer), fingerprint_tokenizer(tokenizer)]
    assert len(read) == 1 and len(set(prints)) == 1
    for attribute, value in (("pre_tokenizer", pre_tokenizers.WhitespaceSplit()), ("normalizer", normalizers.NFC())):
        setattr(tokenizer.backend_tokenizer, attribute, value)
        prints.append(fingerprint_tokenizer(tokenizer))
    tokenizer.add_tokens(["a"], special_tokens=True)  # known to the vocabulary already
    prints.append(fingerprint_tokenizer(tokenizer))
    assert len(set(prints)) == 4


def test_tokenizer_without_a_backend():
    class Slow:
        def __init__(self, vocabulary):
            self.vocabulary = vocabulary

        def get_vocab(self):
            return self.vocabulary

    print_ = fingerprint_tokenizer(Slow({"a": 0, "b": 1}))
    assert fingerprint_tokenizer(Slow({"b": 1, "a": 0})) == print_
    assert fingerprint_tokenizer(Slow({"a": 1, "b": 0})) != print_
