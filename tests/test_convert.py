"""The authors' checkpoints run in this package exactly: same tensors, ids, latents, logits and greedy text."""

import base64
import json
import shutil
import signal
import stat
import subprocess
import sys
import unicodedata
import weakref
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from authors_release import run_as_the_authors
from c3 import C3Config, C3Model
from c3.cli import main as cli_c3
from c3.convert import authors_checkpoint as convert_c3
from c3.convert import tensor_files as tensor_files_c3
from c3.convert.authors_checkpoint import convert_from_authors, convert_to_authors
from c3.convert.authors_tokenizer import SPECIAL_TOKENS, load_authors_tokenizer, write_ranks
from c3.convert.tensor_files import StoredTensor, list_tensors
from c3.training.data.tokenizer import train_tokenizer
from tiny_models import TEXTS

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
OFFICIAL = SHARED / "official_layout"
QWEN = SHARED / "qwen_tokenizer"
needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="no checkpoint in the authors' layout at hand")
needs_qwen = pytest.mark.skipif(not QWEN.is_dir(), reason="no Qwen tokenizer at hand")
TOLERANCE = 1e-4
SYSTEM = "You should follow the instructions carefully and explain your answers in detail."
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|><|im_start|>user\n<img>"
AFTER = "</img>\nRepeat the text: <|im_end|><|im_start|>assistant\n"
TRICKY = [*TEXTS, "Cafe\u0301 <imgpad><|im_end|> \n\n  </img>", "   \t\n x  = 12345;\r\n", "哈哈哈哈哈 😀😀"]


BYTE = {character: value for value, character in bytes_to_unicode().items()}


def to_bytes(token):
    return bytes(BYTE[character] for character in token)


def write_tiktoken(ranks, folder):
    lines = [b"%s %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    (folder / "qwen.tiktoken").write_bytes(b"\n".join(lines) + b"\n")


def merge_by_rank(piece, ranks):
    """BPE as tiktoken does it: the pair of lowest rank, the first of equals, until there is none."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        pairs = [(ranks.get(a + b, len(ranks)), i) for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))]
        rank, i = min(pairs, default=(len(ranks), 0))
        if rank == len(ranks):
            return [ranks[part] for part in parts]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@pytest.fixture(scope="module")
def ranks():
    """A small BPE, `dict[bytes, int]`."""
    vocabulary = train_tokenizer(TEXTS * 4, vocab_size=300).get_vocab()
    tokens = sorted((each for each in vocabulary if each != "<|endoftext|>"), key=vocabulary.get)
    return {to_bytes(token): rank for rank, token in enumerate(tokens)}


def random_model(num_ranks, seed=0, **options):
    """A random C3 in the authors' terms: two untied Qwen2 of other widths and vocabularies, rope theta 1e6."""
    torch.manual_seed(seed)
    ids = {name: num_ranks + SPECIAL_TOKENS.index(token) for name, token in WRAPPING.items()}
    shared = {
        "model_type": "qwen2",
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }
    encoder = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2)
    decoder = dict(hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4)
    config = C3Config(
        encoder_config=shared | encoder | {"vocab_size": num_ranks + 240} | options.pop("encoder", {}),
        decoder_config=shared | decoder | {"vocab_size": num_ranks + 217} | ids | options.pop("decoder", {}),
        num_latents=6,
        window=64,
        reconstruction_prompt="Repeat the text: ",
        prompt_template=BEFORE + "{latents}</img>\n{prompt}<|im_end|><|im_start|>assistant\n",
        context_template="{context}<img>{queries}</img>",
        query_token_id=ids["im_patch_token"],
        latent_token_id=ids["im_patch_token"],
        # Larger than usual, so that outputs depend on the text and equality tests can fail.
        initializer_range=0.3,
        **options,
    )
    model = C3Model(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return model


WRAPPING = {"im_start_token": "<img>", "im_end_token": "</img>", "im_patch_token": "<imgpad>"}


@pytest.fixture(scope="module")
def theirs(ranks, tmp_path_factory):
    """A folder in the authors' layout, in shards, with `qwen.tiktoken`."""
    folder = tmp_path_factory.mktemp("convert")
    random_model(len(ranks)).save_pretrained(folder / "ours")
    convert_to_authors(folder / "ours", folder / "theirs", max_shard_bytes=40_000)
    write_tiktoken(ranks, folder / "theirs")
    return folder / "theirs"


@pytest.fixture(scope="module")
def converted(theirs):
    """`theirs` in this package's layout, in shards."""
    output = theirs.parent / "converted"
    convert_from_authors(theirs, output, max_shard_bytes=40_000)
    return output


@pytest.fixture(scope="module")
def model(converted):
    return AutoModel.from_pretrained(converted).eval()


@pytest.fixture
def copy_of(tmp_path):
    """A copy to damage: `copy_of(folder)`."""

    def copy(folder):
        shutil.copytree(folder, tmp_path / "copy")
        return tmp_path / "copy"

    return copy


def tensors(folder):
    return {name: tensor.read() for name, tensor in list_tensors(folder).items()}


def edit_json(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def equal(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and torch.equal(left[name].view(torch.uint8), right[name].view(torch.uint8))
        for name in left
    )


# ------------------------------------------------------------------------------ against the authors' own forward pass


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


# --------------------------------------------------------------------------------- other sizes, untied, rope theta 1e6


@pytest.mark.parametrize("length", [1, 40])
def test_equals_plain_qwen2_models(length, theirs, model):
    text_ids = torch.randint(300, (length,), generator=torch.manual_seed(1)).tolist()
    latents, _, greedy, context_ids, input_ids = run_as_the_authors(theirs, text_ids, [7], [3], steps=12)
    inputs = {"input_ids": torch.tensor([input_ids]), "context_input_ids": torch.tensor([context_ids])}
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).latents, latents, atol=TOLERANCE, rtol=0)
    for use_cache in (True, False):
        new = model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=use_cache, eos_token_id=None)
        assert new[0].tolist() == greedy
    assert len(set(greedy)) > 3


def test_settings_of_the_backbones(theirs, model):
    for part, backbone in (("", model.config.decoder_config), ("llm1", model.config.encoder_config)):
        settings = json.loads((theirs / part / "config.json").read_text())
        assert backbone.rope_parameters["rope_theta"] == settings["rope_theta"] == 1e6
        assert settings["vocab_size"] == backbone.vocab_size
    assert model.decoder.lm_head.weight is not model.decoder.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [True, False])
def test_there_and_back_bit_for_bit(dtype, tied, ranks, tmp_path):
    backbone = {"tie_word_embeddings": tied}
    model = random_model(len(ranks), encoder=backbone, decoder=backbone).to(dtype)
    model.save_pretrained(tmp_path / "ours")
    convert_to_authors(tmp_path / "ours", tmp_path / "theirs", max_shard_bytes=30_000)
    assert (tmp_path / "theirs/model.safetensors.index.json").is_file()
    assert ("lm_head.weight" in tensors(tmp_path / "theirs")) != tied
    convert_from_authors(tmp_path / "theirs", tmp_path / "back")
    assert (tmp_path / "back/model.safetensors").is_file()
    assert equal(tensors(tmp_path / "ours"), tensors(tmp_path / "back"))
    assert AutoModel.from_pretrained(tmp_path / "back", dtype="auto").dtype == dtype
    convert_to_authors(tmp_path / "back", tmp_path / "theirs_again")
    for part in ("", "llm1"):
        left, right = tmp_path / "theirs" / part, tmp_path / "theirs_again" / part
        assert equal(tensors(left), tensors(right))
        assert (left / "config.json").read_text() == (right / "config.json").read_text()


def test_heads_that_are_not_needed(theirs, copy_of, tmp_path):
    """The encoder's is left out whatever it holds, the decoder's only as a copy of its tied embeddings."""
    source = copy_of(theirs)
    for part in ("", "llm1"):
        weights = tensors(source / part)
        for file in (source / part).glob("model*.safetensors*"):
            file.unlink()
        head = weights["model.embed_tokens.weight"].clone()
        save_file(weights | {"lm_head.weight": head + 1 if part else head}, source / part / "model.safetensors")
    edit_json(source / "config.json", tie_word_embeddings=True)
    lines = convert_from_authors(source, tmp_path / "out")
    assert [line.split(",")[0] for line in lines[1:]] == [
        "Left out: llm1's lm_head.weight",
        "Left out: lm_head.weight",
    ]
    assert not [name for name in tensors(tmp_path / "out") if "lm_head" in name]
    weights = tensors(source)
    save_file(weights | {"lm_head.weight": weights["lm_head.weight"] + 1}, source / "model.safetensors")
    with pytest.raises(ValueError, match="lm_head.weight differs"):
        convert_from_authors(source, tmp_path / "other")


@pytest.mark.parametrize("limit", [10_000, 60_000])
def test_memory_holds_one_shard(limit, theirs, tmp_path, monkeypatch):
    live, peak, total = 0, 0, 0
    read = StoredTensor.read

    def release(nbytes):
        nonlocal live
        live -= nbytes

    def counted(self):
        nonlocal live, peak, total
        tensor = read(self)
        live, total = live + self.nbytes, total + self.nbytes
        peak = max(peak, live)
        weakref.finalize(tensor, release, self.nbytes)
        return tensor

    monkeypatch.setattr(StoredTensor, "read", counted)
    convert_from_authors(theirs, tmp_path / "out", max_shard_bytes=limit)
    largest = max(tensor.nbytes for tensor in list_tensors(tmp_path / "out").values())
    assert total == sum(tensor.nbytes for tensor in list_tensors(tmp_path / "out").values())
    assert peak <= max(limit, largest) < total


# ---------------------------------------------------------------------------------------------------------- tokenizer


def check_tokenizer(tokenizer, ranks):
    for text in TRICKY:
        encoded = tokenizer(text, split_special_tokens=True)
        words = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(unicodedata.normalize("NFC", text))
        assert encoded["input_ids"] == [i for word, _ in words for i in merge_by_rank(to_bytes(word), ranks)]
        assert tokenizer.decode(encoded["input_ids"]) == unicodedata.normalize("NFC", text)
    assert tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS) == list(range(len(ranks), len(ranks) + 217))
    assert sorted(tokenizer.all_special_ids) == list(range(len(ranks), len(ranks) + 217))
    for token in SPECIAL_TOKENS:
        assert tokenizer(f"a{token} b")["input_ids"][1:-1] == [tokenizer.convert_tokens_to_ids(token)]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_tokenizer_from_ranks(ranks, converted, tmp_path):
    check_tokenizer(AutoTokenizer.from_pretrained(converted), ranks)
    write_tiktoken(ranks, tmp_path)
    tokenizer = load_authors_tokenizer(tmp_path, [len(ranks) + i for i in (214, 215, 216)])
    write_ranks(tokenizer, tmp_path / "again.tiktoken")
    assert (tmp_path / "again.tiktoken").read_bytes() == (tmp_path / "qwen.tiktoken").read_bytes()


def test_tokenizer_from_json(ranks, converted, tmp_path):
    shutil.copy(converted / "tokenizer.json", tmp_path)
    check_tokenizer(load_authors_tokenizer(tmp_path, [len(ranks) + i for i in (214, 215, 216)]), ranks)
    # Qwen's own has the same BPE and other special tokens.
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["added_tokens"] = [
        token | ({"content": "<tool>"} if token["content"] == "<|extra_0|>" else {})
        for token in state["added_tokens"][:9]
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    check_tokenizer(load_authors_tokenizer(tmp_path, [len(ranks) + i for i in (214, 215, 216)]), ranks)


@needs_qwen
def test_qwens_own_tokenizer(tmp_path):
    qwen = AutoTokenizer.from_pretrained(QWEN)
    ranks = {to_bytes(token): i for token, i in qwen.get_vocab().items() if i < 151643}
    write_tiktoken(dict(sorted(ranks.items(), key=lambda item: item[1])), tmp_path)
    wrapping = [151857, 151858, 151859]
    for tokenizer in (load_authors_tokenizer(tmp_path, wrapping), load_authors_tokenizer(QWEN, wrapping)):
        check_tokenizer(tokenizer, ranks)
        for text in TRICKY:
            assert tokenizer(text, split_special_tokens=True) == qwen(text, split_special_tokens=True)
        names = ["<|extra_204|>", "<ref>", "</quad>", "<img>", "</img>", "<imgpad>"]
        assert tokenizer.convert_tokens_to_ids(names) == [151850, 151851, 151856, 151857, 151858, 151859]
        assert len(tokenizer) == 151860


def test_wrapping_is_the_authors(model):
    """The processor's ids are those of the authors' strings, encoded in one go."""
    processor, tokenizer = model.processor, model.processor.tokenizer
    ids = processor.prompt_inputs([[(6, 99)]])["input_ids"][0].tolist()
    assert ids == tokenizer(BEFORE + "<imgpad>" * 6 + AFTER)["input_ids"]
    for text in TEXTS:
        context = processor.context_inputs([processor.encode_context(text)], [6])["context_input_ids"][0].tolist()
        assert context == tokenizer(text + "<img>" + "<imgpad>" * 6 + "</img>")["input_ids"]
        prompt = processor.prompt_inputs([[(6, 99)]], [text])["input_ids"][0].tolist()
        assert prompt == tokenizer(BEFORE + "<imgpad>" * 6 + AFTER.replace("Repeat the text: ", text))["input_ids"]


# --------------------------------------------------------------------------------------------------------- end to end


def test_text_in_text_out(model, converted):
    assert model.generation_config.eos_token_id == model.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.config.window == 240 and not model.generation_config.do_sample
    text = TEXTS[0] * 7
    latents = model.compress(text, show_progress=False)
    assert latents.num_windows == -(-latents.text_tokens // 240) > 1
    assert latents.num_latents == 6 * latents.num_windows
    back = model.expand(latents, show_progress=False)
    assert back and not any(token in back for token in SPECIAL_TOKENS)
    assert isinstance(model.generate(latents, "Go on: ", max_new_tokens=5), str)
    remote = AutoModel.from_pretrained(converted, trust_remote_code=True)
    assert remote.expand(latents, show_progress=False) == back


@pytest.mark.parametrize("prompt", [None, "Say <|im_end|> it: "])
def test_chat(model, prompt):
    """The whole text at once, also above the window."""
    text = " ".join(TEXTS) * 3
    processor = model.processor
    ids = processor.encode(text)
    assert len(ids) > model.config.window
    inputs = {
        "input_ids": processor.prompt_inputs([[(6, 1)]], prompt and [prompt])["input_ids"],
        "context_input_ids": processor.context_inputs([ids], [6])["context_input_ids"],
    }
    new = model.generate(**inputs, max_new_tokens=9, do_sample=False)
    assert model.chat(text, prompt, max_new_tokens=9) == processor.decode(new[0]).strip()
    assert model.chat(text, prompt, max_new_tokens=9, no_repeat_ngram_size=1) is not None


def test_chat_stops_at_the_end_of_the_turn(model, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "transformers.GenerationMixin.generate", lambda self, **kwargs: seen.update(kwargs) or torch.tensor([[1, 2]])
    )
    model.chat("a text")
    assert seen["max_new_tokens"] == 4096 and seen["do_sample"] is False
    assert "no_repeat_ngram_size" not in seen and "suppress_tokens" not in seen


def test_chat_of_the_uniform_layout_cuts_windows(make_model):
    uniform = make_model("uniform")
    latents = uniform.compress(TEXTS[0], show_progress=False)
    assert latents.num_windows > 1
    expected = uniform.generate(latents, "Go on: ", max_new_tokens=7).strip()
    assert uniform.chat(TEXTS[0], "Go on: ", max_new_tokens=7) == expected


def test_chat_refuses(model):
    with pytest.raises(ValueError, match="context is empty"):
        model.chat("")
    with pytest.raises(ValueError, match="context is .* tokens long.*room for 506"):
        model.chat("a b c " * 200)


def test_all_files_can_be_read_by_whoever_may_read_one(converted):
    assert len({stat.S_IMODE(each.stat().st_mode) for each in converted.iterdir() if each.is_file()}) == 1


def test_model_card_and_code(converted):
    card = (converted / "README.md").read_text()
    for words in ("Fanfan Liu", "Haibo Qiu", "2511.15244", "qwen-research", "6 latents", "license: other"):
        assert words in card
    assert {"modeling_c3.py", "configuration_c3.py", "processing_c3.py"} <= {each.name for each in converted.iterdir()}
    settings = json.loads((converted / "config.json").read_text())
    assert settings["auto_map"]["AutoModel"] == "modeling_c3.C3Model"
    assert settings["architectures"] == ["C3Model"] and settings["latent_position_layout"] == "appended"


# ------------------------------------------------------------------------------------------------------ command, errors


@pytest.fixture
def run(capsys):
    def call(*argv):
        code = cli_c3.main(["convert", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_command(run, theirs, converted, tmp_path):
    code, out, err = run(theirs, tmp_path / "ours")
    assert (code, err) == (0, "") and out.startswith(f"{tmp_path / 'ours'}: ") and out.count("\n") == 1
    assert equal(tensors(tmp_path / "ours"), tensors(converted))
    code, out, err = run(tmp_path / "ours", tmp_path / "theirs", "--to-authors")
    assert (code, err) == (0, "") and "modeling_C3.py" in out
    for part in ("", "llm1"):
        assert equal(tensors(tmp_path / "theirs" / part), tensors(theirs / part))
    assert (tmp_path / "theirs/qwen.tiktoken").read_bytes() == (theirs / "qwen.tiktoken").read_bytes()
    assert not list(tmp_path.glob("*.tmp"))


def test_command_asks_nothing(converted, tmp_path):
    """In a process of its own, in which nothing else has made transformers know C3."""
    result = subprocess.run(
        [sys.executable, "-m", "c3", "convert", str(converted), str(tmp_path / "theirs"), "--to-authors"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        str(tmp_path / "theirs"),
        "The authors' code is not part of it",
    ]


def rewrite(folder, change):
    weights = tensors(folder)
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    change(weights)
    save_file(weights, folder / "model.safetensors")


def no_encoder(folder):
    shutil.rmtree(folder / "llm1")


def truncate(folder):
    file = sorted(folder.glob("model-*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-100])


DAMAGES = {
    "no llm1": (no_encoder, "no llm1/config.json"),
    "no encoder weights": (
        lambda f: [each.unlink() for each in (f / "llm1").glob("model*")],
        "llm1 holds neither model.safetensors nor model.safetensors.index.json",
    ),
    "other N": (lambda f: edit_json(f / "config.json", latent_token_len=7), "latent_token_len 7, .* holds 6 queries"),
    "no N": (lambda f: edit_json(f / "config.json", latent_token_len=None), "must hold .* latent_token_len"),
    "other width": (
        lambda f: edit_json(f / "config.json", contexts_compression_llm_hidden_size=32),
        "contexts_compression_llm_hidden_size 32, but the encoder in llm1 is 24 wide",
    ),
    "other sizes": (
        lambda f: edit_json(f / "config.json", intermediate_size=64),
        r"mlp.* is \[.*\], but config.json asks for",
    ),
    "other encoder": (
        lambda f: edit_json(f / "llm1/config.json", model_type="qwen3"),
        "encoder in llm1 is a 'qwen3' model",
    ),
    "no Qwen2": (
        lambda f: edit_json(f / "config.json", vocab_size="many"),
        "config.json of the root folder is not that of a Qwen2: .*vocab_size",
    ),
    "no such activation": (
        lambda f: edit_json(f / "llm1/config.json", hidden_act="none"),
        "No model can be made of config.json: KeyError 'none'",
    ),
    "no safetensors": (
        lambda f: [each.rename(each.with_suffix(".bin")) for each in f.glob("model*")],
        "weights in pytorch_model.bin must be saved as safetensors first",
    ),
    "other model": (lambda f: edit_json(f / "config.json", model_type="qwen2"), "is a 'qwen2' model"),
    "placeholder beyond": (
        lambda f: edit_json(f / "config.json", im_patch_token=9999),
        "im_patch_token is 9999, outside the encoder's vocabulary",
    ),
    "unknown tensor": (
        lambda f: rewrite(f, lambda w: w.update(extra=torch.zeros(1))),
        "Unknown tensor 'extra' in the root",
    ),
    "unknown tensor of a layer": (
        lambda f: rewrite(f / "llm1", lambda w: w.update({"model.layers.9.x": torch.zeros(1)})),
        "unknown tensors, 1 in all, first 'model.layers.9.x'",
    ),
    "missing tensor": (
        lambda f: rewrite(f / "llm1", lambda w: w.pop("model.norm.weight")),
        "lacks tensors, 1 in all, first 'llm1/model.norm.weight'",
    ),
    "integers": (
        lambda f: rewrite(f, lambda w: w.update({"model.Q.weight": torch.zeros(6, 24, dtype=torch.int8)})),
        "'model.Q.weight' in .* is 'I8': only",
    ),
    "missing shard": (lambda f: sorted(f.glob("model-*"))[1].unlink(), "lacks 'model-00002-of-.*download it again"),
    "damaged shard": (truncate, "is damaged, or not a safetensors file"),
    "no tokens": (lambda f: (f / "qwen.tiktoken").write_bytes(b"IQ== 0\n"), "must hold <|im_end|> and the tokens"),
    "no ranks": (lambda f: (f / "qwen.tiktoken").write_bytes(b"not ranks\n"), "is not a tokenizer that can be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_sources(damage, run, theirs, copy_of, tmp_path):
    change, message = DAMAGES[damage]
    source = copy_of(theirs)
    change(source)
    code, out, err = run(source, tmp_path / "out")
    assert (code, out) == (2, "") and err.startswith("c3: error: ") and err.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        convert_from_authors(source, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.tmp").exists()


def test_outputs_that_cannot_be_made(theirs, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    (tmp_path / "half.tmp").mkdir()
    for output, message in (
        ("there", "exists: name a new or an empty folder"),
        ("no/out", "There is no folder"),
        ("/proc/out", "Cannot write /proc/out: No such file or directory"),
        ("half", "half.tmp is left from a conversion that was cut off"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_from_authors(theirs, tmp_path / output)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(convert_c3.shutil, "disk_usage", lambda path: usage._replace(free=10**7))
    with pytest.raises(ValueError, match="Too little disk for .*0.07 GB are needed, 0.01 GB are free"):
        convert_from_authors(theirs, tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["half.tmp", "there"]


@pytest.mark.parametrize(
    ("writing", "number", "expected"),
    [("save_file", signal.SIGINT, 130), ("_write_settings", signal.SIGINT, 130), ("save_file", signal.SIGTERM, 143)],
)
def test_a_conversion_that_is_ended_leaves_nothing(writing, number, expected, run, theirs, tmp_path, monkeypatch):
    """By Ctrl-C or SIGTERM, once weights are on the disk, and while the last files are written."""
    # A shell starts what it runs in the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    module = tensor_files_c3 if writing == "save_file" else convert_c3
    write = getattr(module, writing)

    def interrupted(*args, **kwargs):
        write(*args, **kwargs)
        signal.raise_signal(number)

    monkeypatch.setattr(module, writing, interrupted)
    try:
        code, out, err = run(theirs, tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, out) == (expected, "") and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_sources_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(
        convert_c3, "snapshot_download", lambda *args, **kwargs: (_ for _ in ()).throw(OfflineModeIsEnabled("offline"))
    )
    (tmp_path / "file").touch()
    for source, message in (
        ("org/model", "no folder org/model, and it cannot be downloaded from the Hub: offline"),
        (tmp_path / "file", "is a file"),
        (tmp_path, "There is no .*config.json"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_from_authors(source, tmp_path / "out")


def test_no_download_for_an_output_that_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(convert_c3, "snapshot_download", lambda *args, **kwargs: pytest.fail("downloaded"))
    (tmp_path / "file").touch()
    for convert in (convert_from_authors, convert_to_authors):
        with pytest.raises(ValueError, match="exists: name a new or an empty folder"):
            convert("org/model", tmp_path)


def test_hub_ids_are_downloaded(theirs, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(convert_c3, "snapshot_download", lambda name, **kwargs: asked.append(name) or str(theirs))
    (tmp_path / "out").mkdir()  # an empty folder will do
    convert_from_authors("org/model", tmp_path / "out")
    assert asked == ["org/model"] and "org/model" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projector": "mlp"}, "needs projector 'linear'"),
        ({"use_mask_embedding": True}, "needs use_mask_embedding False"),
        ({"encoder": {"model_type": "qwen3"}}, "needs Qwen2 models; encoder_config is a 'qwen3'"),
        ({"decoder": {"vocab_size": 400}}, "beyond the 400 tokens of decoder_config"),
    ],
)
def test_models_that_the_authors_layout_cannot_hold(options, message, ranks, tmp_path):
    random_model(len(ranks), **options).save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match=message):
        convert_to_authors(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_other_templates_and_the_wrong_direction(make_model, checkpoint, theirs, converted, tmp_path):
    with pytest.raises(ValueError, match="--to-authors converts the other way"):
        convert_from_authors(converted, tmp_path / "out")
    with pytest.raises(ValueError, match="leave out --to-authors"):
        convert_to_authors(theirs, tmp_path / "out")
    with pytest.raises(ValueError, match="needs latent_position_layout 'appended'"):
        convert_to_authors(checkpoint, tmp_path / "out")
    shutil.copytree(converted, tmp_path / "templates")
    edit_json(tmp_path / "templates/config.json", prompt_template="{latents}{prompt}")
    with pytest.raises(ValueError, match="needs their templates"):
        convert_to_authors(tmp_path / "templates", tmp_path / "out")
