"""The authors' tokenizer: the same ids, from ranks and from tokenizer.json."""

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from authors_layout_models import AFTER, BEFORE, to_bytes, write_tiktoken
from c3.convert.authors_tokenizer import SPECIAL_TOKENS, load_authors_tokenizer, write_ranks
from c3.decoder_rows_c3 import LatentSpan
from tiny_models import TEXTS

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
QWEN = SHARED / "qwen_tokenizer"
needs_qwen = pytest.mark.skipif(not QWEN.is_dir(), reason="no Qwen tokenizer at hand")
TRICKY = [*TEXTS, "Cafe\u0301 <imgpad><|im_end|> \n\n  </img>", "   \t\n x  = 12345;\r\n", "哈哈哈哈哈 😀😀"]


def merge_by_rank(piece, ranks):
    """BPE as tiktoken does it: the pair of lowest rank, the first of equals, until there is none."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        pairs = [(ranks.get(a + b, len(ranks)), i) for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))]
        rank, i = min(pairs, default=(len(ranks), 0))
        if rank == len(ranks):
            return [ranks[part] for part in parts]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


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
    ids = processor.decoder_inputs([processor.row([LatentSpan(6, 99)])])["input_ids"][0].tolist()
    assert ids == tokenizer(BEFORE + "<imgpad>" * 6 + AFTER)["input_ids"]
    for text in TEXTS:
        context = processor.context_inputs([processor.encode_context(text)], [6])["context_input_ids"][0].tolist()
        assert context == tokenizer(text + "<img>" + "<imgpad>" * 6 + "</img>")["input_ids"]
        prompt = processor.decoder_inputs([processor.row([LatentSpan(6, 99)], text)])["input_ids"][0].tolist()
        assert prompt == tokenizer(BEFORE + "<imgpad>" * 6 + AFTER.replace("Repeat the text: ", text))["input_ids"]
