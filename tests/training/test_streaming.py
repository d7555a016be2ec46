"""Training from data that are read on the way. Run: pytest tests/training/test_streaming.py"""

import json
import threading
from itertools import islice

import datasets
import numpy as np
import pytest

from c3.training.data import streaming
from c3.training.data.collator import C3Collator
from c3.training.data.corpus import _interleaved
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.instructions import InstructionExamples
from c3.training.data.pools import BatchPool, group_conversations
from c3.training.data.streaming import StreamedBatches
from tiny_models import TEXTS, seen_each


@pytest.fixture
def processor(make_model):
    return make_model("uniform").processor


def make_batches(processor, texts, num_batches=60, seed=0, **options):
    stream = datasets.Dataset.from_dict({"text": texts}).to_iterable_dataset()
    curriculum = Curriculum([Phase(1.0, [8, 16], [2, 4])], num_batches, seed)
    options = {"block_size": 16, "tokens_per_batch": 64} | options
    return StreamedBatches(stream, curriculum, processor, **options)


def contents(batches):
    return [[(each.windows, each.target, each.hidden) for each in seen_each(batch)] for batch in batches]


def test_the_order_depends_on_the_seed_alone(processor):
    texts = [text * (1 + i % 3) for i in range(30) for text in TEXTS]
    batches = contents(make_batches(processor, texts, dropout_windows=0.5))
    assert len(batches) == 60
    again = make_batches(processor, texts, dropout_windows=0.5)
    assert contents(again) == batches and contents(again) == batches
    assert contents(make_batches(processor, texts, seed=1, dropout_windows=0.5)) != batches
    for batch in batches:
        lengths = [len(target) for _, target, _ in batch]
        assert sum(lengths) <= 64 and max(lengths) <= 16


def test_processes_share_the_batches(processor):
    texts = TEXTS * 20
    whole = contents(make_batches(processor, texts))
    shares = [contents(make_batches(processor, texts, process_index=index, num_processes=2)) for index in range(2)]
    assert [batch for pair in zip(*shares, strict=True) for batch in pair] == whole


def test_dropout_is_halved_as_in_data_that_are_loaded(processor):
    """Above so many tokens to a latent that no window has them it changes nothing; from there on it does."""
    texts = TEXTS * 20
    batches = [
        contents(make_batches(processor, texts, dropout_windows=1.0, dropout_halved_above=n)) for n in (None, 4, 2)
    ]
    assert batches[0] == batches[1] != batches[2]
    ratios = [length / n for batch in batches[2] for ((_, n, length),), _, hidden in batch if not any(hidden)]
    assert sum(ratio > 2 for ratio in ratios) > 0.8 * len(ratios) > 50


def test_small_data_are_read_again_and_again(processor):
    """Every text comes back in every epoch; those without words are counted once."""
    said = []
    batches = make_batches(processor, ["", TEXTS[1], None], num_batches=100, say=said.append)
    assert sum(map(len, contents(batches))) > 100
    assert batches.unusable.count == 2
    assert len(said) == 1 and said[0].startswith("Streamed documents: 1 without text (document ")


def test_nothing_to_read(processor):
    with pytest.raises(ValueError, match="the streamed data hold no text"):
        next(iter(make_batches(processor, ["", None])))


def test_every_block_comes_once_an_epoch(processor):
    texts = [TEXTS[0]] * 40
    length = len(processor.encode(TEXTS[0]))
    batches = islice(iter(make_batches(processor, texts, num_batches=10**6)), 40)
    targets = [len(target) for batch in contents(batches) for _, target, _ in batch]
    assert np.mean(targets) > 6 and length > 16


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_CHARACTERS", 400)
    # Seconds that datasets waits at the end of every epoch of streamed files, here of a few milliseconds.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


@pytest.mark.parametrize("stop", [3, 40])
def test_a_resumed_stream_keeps_the_same_documents(stop, processor, small_chunks, load_training, tmp_path):
    """A share of those of two files in turn, some of them with other line ends."""
    sources = []
    for name in "ab":
        path = tmp_path / f"{name}.jsonl"
        path.write_text(
            "\n".join(json.dumps({"text": f"{name} {n}\n{TEXTS[n % 3]}"}) for n in range(40)), encoding="utf-8"
        )
        sources.append({"path": str(path), "streaming": True, "keep": 0.5})
    recipe = load_training("kept", f"train_data={json.dumps(sources)}", "crlf_documents=0.3", f"tokenizer={tmp_path}")

    def batches(**options):
        curriculum = Curriculum([Phase(1.0, [8, 16], [2, 4])], 120, seed=2)
        options |= {"block_size": 16, "tokens_per_batch": 64}
        return StreamedBatches(_interleaved(recipe), curriculum, processor, **options)

    expected = contents(batches())
    text = "".join(processor.decode(target) for batch in expected for _, target, _ in batch)
    assert "\r\n" in text
    stopped = batches()
    list(islice(iter(stopped), stop + 1))
    state = json.loads(json.dumps(stopped.state(stop)))
    assert contents(list(batches(resume_from=state))[stop:]) == expected[stop:]


@pytest.mark.parametrize("stop", [0, 1, 20, 59])
def test_a_resumed_stream_goes_on_alike(stop, processor, small_chunks, tmp_path):
    """Over several epochs of several files, some rows without text; the batches before come as empty lists."""
    rows = [text * (1 + i % 3) for i in range(8) for text in (*TEXTS, "")]
    for shard in range(3):
        part = datasets.Dataset.from_dict({"text": rows[shard::3]})
        part.to_parquet(tmp_path / f"{shard}.parquet")

    def batches(**options):
        files = [str(tmp_path / f"{shard}.parquet") for shard in range(3)]
        stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        curriculum = Curriculum([Phase(1.0, [8, 16], [2, 4])], 150, seed=2)
        return StreamedBatches(stream, curriculum, processor, block_size=16, tokens_per_batch=64, **options)

    whole = batches()
    expected = contents(whole)
    stopped = batches()
    list(islice(iter(stopped), stop + 1))
    state = json.loads(json.dumps(stopped.state(stop)))
    resumed = batches(resume_from=state)
    found = list(resumed)
    assert found[:stop] == [[]] * stop
    assert contents(found[stop:]) == expected[stop:]
    assert resumed.unusable == whole.unusable and whole.unusable.count == 8
    share = list(batches(resume_from=state, process_index=1, num_processes=2))
    assert contents(share)[-5:] == expected[1::2][-5:] and len(share) == len(expected[1::2])


@pytest.mark.parametrize("stop", [0, 1, 23, 50])
def test_conversations_between_streamed_texts(stop, processor, small_chunks):
    """
    As many as their weight says, each once an epoch of those that a phase takes; texts come as without them; a resumed
    run goes on alike.
    """
    rows = [
        {
            "context": f"{number} {TEXTS[0]}" * (1 + number % 2),
            "messages": [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": f"{number}."}],
        }
        for number in range(6)
    ]
    instructions = InstructionExamples(rows, processor)
    stream = datasets.Dataset.from_dict({"text": TEXTS * 20}).to_iterable_dataset()
    lengths, longest = instructions.lengths, int(instructions.lengths[0, 0])
    chosen = {longest: np.array([0, 2, 4]), None: np.arange(6)}

    def batches(objectives, **options):
        phases = [Phase(until, [8, 16], [2, 4], longest_context=n) for until, n in ((0.5, longest), (1.0, None))]
        curriculum = Curriculum(phases, 60, seed=3, objectives=objectives)
        pools = {
            ("instruction", n): BatchPool(rows, lengths[rows], 150, seed=3, group=group_conversations)
            for n, rows in chosen.items()
        }
        options |= {"rows": {"instruction": instructions}, "row_pools": pools}
        return StreamedBatches(stream, curriculum, processor, block_size=16, tokens_per_batch=64, **options)

    both = {"reconstruction": 2, "instruction": 1}
    mixed = batches(both)
    taken = list(islice(iter(mixed), stop + 1))
    state = json.loads(json.dumps(mixed.state(stop)))
    whole = list(batches(both))
    assert contents(taken) == contents(whole[: stop + 1])
    assert contents(list(batches(both, resume_from=state))[stop:]) == contents(whole[stop:])
    shares = [list(batches(both, process_index=index, num_processes=2)) for index in range(2)]
    assert contents(batch for pair in zip(*shares, strict=True) for batch in pair) == contents(whole)
    is_instruction = [not seen_each(batch)[0].replays for batch in whole]
    assert 10 < sum(is_instruction) < 30
    targets = [each.target.tolist() for each in instructions.examples]
    for half, rows in ((slice(30), chosen[longest].tolist()), (slice(30, 60), chosen[None].tolist())):
        asking = [batch for batch, asks in zip(whole[half], is_instruction[half], strict=True) if asks]
        asked = [targets.index(each.target) for batch in asking for each in seen_each(batch)]
        assert len(asked) >= len(rows)
        for start in range(0, len(asked) - len(rows) + 1, len(rows)):
            assert sorted(asked[start : start + len(rows)]) == rows
    # In the order in which the texts alone come; windows and ratios are those of the batch's place.
    texts = contents(batch for batch, asks in zip(whole, is_instruction, strict=True) if not asks)
    starts = [batch[0][1][:2] for batch in texts]
    plain = [batch[0][1][:2] for batch in contents(batches({"reconstruction": 1}))]
    assert starts == plain[: len(starts)]


def test_resuming_does_not_tokenize_what_was_read(processor, small_chunks, monkeypatch):
    texts = [text for _ in range(40) for text in TEXTS]
    stream = make_batches(processor, texts, num_batches=10**6)
    list(islice(iter(stream), 100))
    state = stream.state(100)
    assert state["first_batch"] > 80
    read = []
    encode = type(processor).encode
    monkeypatch.setattr(type(processor), "encode", lambda self, texts: read.append(len(texts)) or encode(self, texts))
    resumed = make_batches(processor, texts, num_batches=10**6, resume_from=state)
    list(islice(iter(resumed), 101))
    assert 0 < sum(read) < 20 < len(texts)


def test_a_thread_makes_the_next_chunk_meanwhile(processor, small_chunks, monkeypatch):
    """One more than batches are taken from, but none that no batch of the run is from; then it is gone."""
    threads, has_two, encode = [], threading.Event(), type(processor).encode

    def note(self, texts):
        threads.append(threading.current_thread())
        if len(threads) == 2:
            has_two.set()
        return encode(self, texts)

    monkeypatch.setattr(type(processor), "encode", note)
    texts = [text for _ in range(40) for text in TEXTS]
    taken = iter(make_batches(processor, texts, num_batches=10**6))
    next(taken)
    assert has_two.wait(60) and threading.main_thread() not in threads
    taken.close()
    assert len(threads) == 2 and not any(thread.is_alive() for thread in threads)
    assert len(list(make_batches(processor, texts, num_batches=2))) == 2 and len(threads) == 3


def test_a_chunk_of_long_documents_is_a_short_one(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK_CHARACTERS", 100)
    rows = iter([{"text": "a" * 60}] * 5)
    assert [len(streaming._some_texts(rows)) for _ in range(4)] == [2, 2, 1, 0]


def test_short_documents_are_hardly_padded(processor):
    """Of mixed lengths, most of them far below a window."""
    rng = np.random.default_rng(0)
    words = " ".join(TEXTS).split()
    texts = [" ".join(rng.choice(words, size=size)) for size in rng.geometric(0.1, size=3000)]
    collator = C3Collator(processor)
    stream = make_batches(processor, texts, num_batches=60, tokens_per_batch=1024)
    filled = positions = 0
    for batch in stream:
        inputs = collator(batch)
        for name in ("attention_mask", "context_attention_mask"):
            filled, positions = filled + int(inputs[name].sum()), positions + inputs[name].numel()
    assert 0.95 < filled / positions < 1


def test_only_the_last_batches_have_a_state(processor, small_chunks):
    stream = make_batches(processor, TEXTS * 20, num_batches=10**6)
    list(islice(iter(stream), 60))
    with pytest.raises(ValueError, match="Batch 3 is not among the last ones"):
        stream.state(3)
