"""A small checkpoint in the authors' layout, and what it was converted to."""

import shutil

import pytest
from transformers import AutoModel

from authors_layout_models import random_model, to_bytes, write_tiktoken
from c3.convert.from_authors import convert_from_authors
from c3.convert.to_authors import convert_to_authors
from c3.training.data.tokenizer import train_tokenizer
from tiny_models import TEXTS


@pytest.fixture(scope="session")
def ranks():
    """A small BPE, `dict[bytes, int]`."""
    vocabulary = train_tokenizer(TEXTS * 4, vocab_size=300).get_vocab()
    tokens = sorted((each for each in vocabulary if each != "<|endoftext|>"), key=vocabulary.get)
    return {to_bytes(token): rank for rank, token in enumerate(tokens)}


@pytest.fixture(scope="session")
def theirs(ranks, tmp_path_factory):
    """A folder in the authors' layout, in shards, with `qwen.tiktoken`."""
    folder = tmp_path_factory.mktemp("convert")
    random_model(len(ranks)).save_pretrained(folder / "ours")
    convert_to_authors(folder / "ours", folder / "theirs", max_shard_bytes=40_000)
    write_tiktoken(ranks, folder / "theirs")
    return folder / "theirs"


@pytest.fixture(scope="session")
def converted(theirs):
    """`theirs` in this package's layout, in shards."""
    output = theirs.parent / "converted"
    convert_from_authors(theirs, output, max_shard_bytes=40_000)
    return output


@pytest.fixture(scope="session")
def model(converted):
    return AutoModel.from_pretrained(converted).eval()


@pytest.fixture
def copy_of(tmp_path):
    """A copy to damage: `copy_of(folder)`."""

    def copy(folder):
        shutil.copytree(folder, tmp_path / "copy")
        return tmp_path / "copy"

    return copy
