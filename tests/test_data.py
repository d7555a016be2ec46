"""Sources and token streams. Run: pytest tests/test_data.py"""

import json
import math

import numpy as np
import pytest

from c3.data_c3 import DataSource, TokenStream, UnusableDocuments, check_source, load_texts
from tiny_models import TEXTS

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


# Sources


def test_load_texts(tmp_path):
    rows = [{"text": text, "source": "x"} for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    for name in ("a.jsonl", "a.json", "a.parquet"):
        for path in (tmp_path / name, str(tmp_path / name)):
            texts = load_texts(path)
            assert texts.column_names == ["text"] and list(texts["text"]) == TEXTS
    assert set(load_texts(DataSource(str(tmp_path / "a.parquet"), column="source"))["text"]) == {"x"}


def test_a_text_file_is_one_text(tmp_path):
    text = "two\n\nparagraphs\n" + TEXTS[2] + "\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert list(load_texts(tmp_path / "a.txt")["text"]) == [text]


def test_bad_sources(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"body": "b", "id": 1}))
    (tmp_path / "a.csv").write_text("text\na\n")
    with pytest.raises(ValueError, match=r"a\.jsonl has no column 'text'; it has body, id"):
        load_texts(tmp_path / "a.jsonl")
    for suffix in ("parquet", "jsonl", "txt", "csv"):
        with pytest.raises(FileNotFoundError, match=rf"No such data file: .*missing\.{suffix}"):
            load_texts(tmp_path / f"missing.{suffix}")
    for path in (tmp_path / "a.csv", tmp_path):
        with pytest.raises(ValueError, match=r"is not a \.parquet, \.jsonl, \.json, \.txt file"):
            load_texts(path)


def test_names_of_hub_datasets_may_have_dots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not check_source("org/data-v1.5")
    assert not check_source("wikitext")


# Token stream


def make_stream(texts, processor, block_size=16):
    rows = {"text": texts, "id": list(range(len(texts)))}
    return TokenStream(datasets.Dataset.from_dict(rows), processor, block_size)


@pytest.fixture
def processor(make_model):
    return make_model("uniform").processor


def test_blocks_cover_every_token(processor):
    exact = processor.decode(processor.encode(TEXTS[0])[:32])
    texts = [TEXTS[0] * 3, "", "a", TEXTS[1], exact, None, TEXTS[2]]
    stream = make_stream(texts, processor)
    lengths = [len(processor.encode(text)) if text else 0 for text in texts]
    assert lengths[4] == 32
    assert stream.num_documents == 7
    assert str(stream.unusable) == "2 without text (data, row 1, data, row 5)"
    assert stream.ids.dtype == np.int32 and stream.blocks.dtype == np.int64
    assert stream.ids.tolist() == [i for text in texts if text for i in processor.encode(text)]
    starts = np.cumsum([0, *lengths])
    blocks = stream.blocks.tolist()
    for start, length in zip(starts.tolist(), lengths, strict=False):
        inside = [each[:2] for each in blocks if start <= each[0] < start + length]
        assert all(end == start + length for first, _, end in blocks if start <= first < start + length)
        # No block crosses into another document, and all its tokens are in one.
        covered = {i for first, size in inside for i in range(first, first + size)}
        assert covered == set(range(start, start + length))
        assert [size for _, size in inside] == [min(16, length)] * math.ceil(length / 16)
    assert len(blocks) == sum(math.ceil(length / 16) for length in lengths)


def test_special_tokens_in_documents_are_text(processor):
    assert 0 not in make_stream(["a<|endoftext|>b"], processor).ids


@pytest.mark.parametrize("texts", [["", None, ""], [""] * 300 + ["a"]], ids=["empty", "late"])
def test_streams_of_nearly_nothing(texts, processor):
    stream = make_stream(texts, processor)
    assert stream.num_documents == len(texts)
    assert stream.unusable.count == sum(not text for text in texts)
    assert stream.blocks.tolist() == ([[0, 1, 1]] if "a" in texts else [])
    assert stream.blocks.shape[1] == 3 and stream.ids.dtype == np.int32


def test_no_documents(processor):
    with pytest.raises(ValueError, match="no documents to train on"):
        make_stream([], processor)


def test_unusable_documents_are_named_up_to_a_few():
    unusable = UnusableDocuments()
    assert str(unusable) == "0 without text"
    for row in range(12):
        unusable.add(f"a, row {row}")
    assert str(unusable).startswith("12 without text (a, row 0, a, row 1,") and str(unusable).endswith("row 9, …)")


def test_streamed_sources_equal_loaded_ones(tmp_path):
    rows = [{"body": text, "source": "x"} for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = DataSource(str(tmp_path / "a.jsonl"), column="body", streaming=True)
    assert [row["text"] for row in load_texts(source)] == TEXTS
    with pytest.raises(ValueError, match="has no column 'text'; it has body, source"):
        load_texts(DataSource(str(tmp_path / "a.jsonl"), streaming=True))
