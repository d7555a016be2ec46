"""Sources and token streams. Run: pytest tests/training/test_data.py"""

import json
import math

import numpy as np
import pytest

from c3.training.data.documents import (
    DataSource,
    TokenStream,
    UnusableDocuments,
    check_source,
    load_columns,
    load_texts,
    position_of,
)
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
    with pytest.raises(ValueError, match=r"a\.jsonl has no column 'text'; it has 'body', 'id'"):
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


# A share of the documents


@pytest.fixture
def library(tmp_path):
    """A file of 4000 documents from three origins."""
    origins = ["books: Middlemarch", "books: Emma", "laws title 1", "news"]
    rows = [{"text": f"document {number}", "source": origins[number % 4]} for number in range(4000)]
    (tmp_path / "library.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(tmp_path / "library.jsonl")


def kept(library, keep, **options):
    return [row["text"] for row in load_texts(DataSource(library, keep=keep, **options))]


def test_a_share_of_the_documents(library):
    """The same ones whether they are loaded or streamed, not the first ones, a smaller share within a larger one."""
    half, said = kept(library, 0.5), []
    assert len(half) / 4000 == pytest.approx(0.5, abs=0.04)
    assert half == kept(library, 0.5) == kept(library, 0.5, streaming=True)
    numbers = [int(text.split()[1]) for text in half]
    assert numbers == sorted(numbers)
    assert sum(number < 2000 for number in numbers) / 4000 == pytest.approx(0.25, abs=0.03)
    assert set(kept(library, 0.2)) < set(half) < set(kept(library, 1)) == set(kept(library, None))
    load_texts(DataSource(library, keep=0.5), said.append)
    assert said == [f"{library}: {len(half)} of 4000 documents kept."]


def test_shares_by_origin(library):
    """By how `source` begins; the longest beginning counts, and what is not named is kept whole."""
    keep, said = {"books": 0.5, "books: Emma": 0.1, "laws": 0.3}, []
    texts = kept(library, keep)
    assert texts == kept(library, keep, streaming=True)
    counts = [sum(int(text.split()[1]) % 4 == origin for text in texts) for origin in range(4)]
    assert [count / 1000 for count in counts] == pytest.approx([0.5, 0.1, 0.3, 1], abs=0.06) and counts[3] == 1000
    load_texts(DataSource(library, keep=keep), said.append)
    parts = f"books: {counts[0]} of 1000, books: Emma: {counts[1]} of 1000, laws: {counts[2]} of 1000"
    assert said == [f"{library}: {sum(counts)} of 4000 documents kept ({parts})."]


def test_keep_names_what_is_not_there(library, tmp_path):
    with pytest.raises(ValueError, match=r"library.jsonl: keep names novels, but no `source` begins so"):
        kept(library, {"books": 0.5, "novels": 0.5})
    (tmp_path / "plain.jsonl").write_text(json.dumps({"text": "a"}))
    with pytest.raises(ValueError, match=r"plain.jsonl has no column 'source', whose values keep names; it has 'text'"):
        kept(str(tmp_path / "plain.jsonl"), {"books": 0.5})
    with pytest.raises(ValueError, match=r"library.jsonl: keep leaves none of its 4000 documents"):
        kept(library, 1e-9)
    # A stream cannot be asked what comes later: the log says what has not come yet.
    said = []
    list(load_texts(DataSource(library, keep={"books": 0.5, "novels": 0.5}, streaming=True), said.append))
    assert [line.split(" documents kept")[0].split(" of ")[-1] for line in said] == ["1", "10", "100", "1000"]
    assert said[-1].endswith("; none yet of novels.")


def test_conversations_are_kept_by_their_context(tmp_path):
    rows = [{"context": f"context {number // 2}", "messages": [str(number)]} for number in range(200)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = load_columns(DataSource(str(tmp_path / "chat.jsonl"), keep=0.5), ["context", "messages"])
    assert found.column_names == ["context", "messages"] and 60 < len(found) < 140
    assert len(set(found["context"])) == len(found) / 2


def test_positions_are_evenly_spread():
    positions = np.array([position_of(f"{number}", "keep") for number in range(4000)])
    assert np.quantile(positions, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.03)
    assert 0 <= positions.min() and positions.max() < 1
    others = np.array([position_of(f"{number}", "crlf") for number in range(4000)])
    assert abs(np.corrcoef(positions, others)[0, 1]) < 0.05
    assert position_of(None, "keep") == position_of("", "keep") and position_of("\ud800", "keep")


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
    with pytest.raises(ValueError, match="has no column 'text'; it has 'body', 'source'"):
        load_texts(DataSource(str(tmp_path / "a.jsonl"), streaming=True))
