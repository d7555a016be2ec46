"""
Objectives of global compression: rows of chunks and their latents.
Run: pytest tests/training/test_chunk_objectives.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from c3 import C3Model
from c3.decoder_rows_c3 import LatentSpan, TextSegment
from c3.training.checks import RecipeError
from c3.training.data.collator import C3Collator
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.examples import WindowDataset
from c3.training.data.specs import WindowSpec
from c3.training.run.stages import train
from tiny_models import history

IDS = [np.arange(64) % 50 + 3, np.arange(48) % 40 + 9]
# A document of four blocks, one of 40 tokens, short ones of 7 and 1.
BLOCKS = np.array([[0, 0, 64, 64], [1, 0, 40, 40], [1, 40, 7, 47], [1, 47, 1, 48]])


def made(example):
    """Of each segment: whether it is latents, its chunk, its tokens and what is learned of them."""
    return [
        ("v", each.chunk, each.num_latents, each.num_tokens)
        if isinstance(each, LatentSpan)
        else ("c", each.chunk, list(each.ids), list(each.labels))
        for each in example.row
    ]


@pytest.fixture
def dataset(make_model):
    return WindowDataset(IDS, make_model().processor)


def test_rows_by_hand(dataset):
    ids = IDS[0].tolist()
    a, b, c = ids[:8], ids[8:16], ids[16:19]
    example = dataset[WindowSpec(0, 8, 2, 0, continuation=11, objective="multi_turn_reconstruction")]
    assert made(example) == [("v", 1, 2, 8), ("c", 1, a, a), ("v", 2, 2, 8), ("c", 2, b, b)]
    assert (example.contexts, example.num_latents) == ([a, b], [2, 2])
    example = dataset[WindowSpec(0, 8, 2, 0, continuation=11, objective="global_language_modeling")]
    learned = [-100, *a[1:]]
    assert made(example) == [("c", 1, a, learned), ("v", 1, 2, 8), ("c", 2, b, b), ("v", 2, 2, 8), ("c", 3, c, c)]
    assert (example.contexts, example.num_latents) == ([a, b], [2, 2])


@pytest.mark.parametrize("objective", ["multi_turn_reconstruction", "global_language_modeling"])
@pytest.mark.parametrize("chunks", [(1, 1), (2, 4), (8, 8)])
def test_every_document_gives_rows(objective, chunks, dataset):
    """No token is in two rows, and none is left out but those that make no whole window."""
    curriculum = Curriculum([Phase(1.0, [8], [2, 4], chunks=list(chunks))], 20, objectives={objective: 1.0})
    drawn = set()
    for index in range(20):
        draw = curriculum.draw(index)
        drawn.add(draw.chunks)
        specs = curriculum.cut(draw, BLOCKS)
        taken = [(s.source, place) for s in specs for place in range(s.start, s.start + s.length + s.continuation)]
        assert len(taken) == len(set(taken))
        predicts = objective == "global_language_modeling"
        most = max(2, draw.chunks) if predicts else draw.chunks
        assert not predicts or all(spec.continuation > 0 for spec in specs)
        for source, start, length, end in BLOCKS[: 3 if predicts else 4].tolist():
            sizes = {spec.length for spec in specs if spec.source == source and start <= spec.start < end}
            covered = [place for number, place in taken if number == source and start <= place < end]
            # From the start of each document.
            assert covered == list(range(start, start + len(covered))) and length - len(covered) <= max(sizes)
        for spec in specs:
            assert spec.length + spec.continuation <= most * spec.length <= most * 8
            assert spec.length == spec.num_latents * draw.ratio or spec.length < draw.ratio
            example = dataset[spec]
            assert len(example.contexts) == len(example.num_latents) == sum(each[0] == "v" for each in made(example))
    assert drawn == set(range(chunks[0], chunks[1] + 1))
    # Of a single token nothing follows: it is given back.
    (spec,) = curriculum.cut(draw, BLOCKS[-1:])
    expected = "reconstruction" if objective == "global_language_modeling" else objective
    assert spec.objective == expected


def test_dropout_hides_what_is_given_back(make_model):
    dataset = WindowDataset(IDS, make_model().processor, dropout_windows=1.0)
    spec = WindowSpec(0, 16, 4, 3, continuation=16, objective="multi_turn_reconstruction")
    hidden = [each.hidden for each in dataset[spec].row if isinstance(each, TextSegment)]
    assert all(len(each) == 16 and any(each) for each in hidden) and hidden[0] != hidden[1]
    assert [each.hidden for each in dataset[spec].row if isinstance(each, TextSegment)] == hidden


@pytest.mark.parametrize("layout", ["appended", "uniform"])
def test_the_loss_is_that_of_each_chunk_after_the_latents_before(layout, make_model):
    """Rows of unlike lengths together; where latents see no text, each chunk follows latents that stand alone."""
    model = make_model(layout, latents_see_chunk=False)
    dataset = WindowDataset(IDS, model.processor)
    specs = [(0, 0, 24), (1, 0, 5)]
    for objective in ("multi_turn_reconstruction", "global_language_modeling"):
        examples = [
            dataset[WindowSpec(start, 8, 2, 0, source, following, objective)] for source, start, following in specs
        ]
        losses, counts = [], []
        for example in examples:
            values = model.encode_windows(example.contexts, example.num_latents)
            row = example.row
            for place, segment in enumerate(row):
                if isinstance(segment, TextSegment):
                    before = [each for each in row[:place] if isinstance(each, LatentSpan)]
                    batch = model.processor.decoder_inputs([[*before, segment]])
                    assert "chunk_ids" not in batch
                    count = int((batch["labels"] != -100).sum())
                    latents = values[: sum(span.num_latents for span in before)]
                    losses.append(model(**batch, latents=latents).loss * count)
                    counts.append(count)
        batch = C3Collator(model.processor)(examples)
        torch.testing.assert_close(model(**batch).loss, sum(losses) / sum(counts), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run(streaming, load_training, make_model, tmp_path):
    """Both objectives beside reconstruction; on two kinds of data, with the attention for training on CPUs."""
    tokenizer = tmp_path / "tokenizer"
    make_model().processor.tokenizer.save_pretrained(tokenizer)
    phases = "[{until: 1.0, windows: [16], ratios: [2, 4], chunks: [1, 4]}]"
    recipe = load_training(
        f"chunks {streaming}",
        f"train_data={json.dumps({'path': load_training('texts').train_data[0].path, 'streaming': streaming})}",
        f"tokenizer={tokenizer}",
        f"curriculum={phases}",
        "objectives={reconstruction: 1, multi_turn_reconstruction: 1, global_language_modeling: 2}",
        "attn_implementation=cpu_matmul",
        "training.max_steps=8",
        "training.eval_strategy=no",
        "training.save_strategy=no",
    )
    assert (recipe.longest_window, recipe.longest_text) == (16, 64)
    model = C3Model.from_pretrained(train(recipe))
    assert not model.config.reconstruction_only
    assert all(np.isfinite(loss) for loss in history(Path(recipe.output_dir)).values())
    options = {"compress_every": 16, "ratio": 4, "max_new_tokens": 20, "do_sample": False}
    assert isinstance(model.generate(None, "It was", **options), str)


def test_bad_chunks(load_training):
    for chunks in ("[0, 2]", "[3, 2]", "4", "[1, 2, 3]"):
        with pytest.raises(RecipeError, match="chunks must be .lowest, highest., whole and at least 1"):
            load_training("bad", f"curriculum=[{{until: 1.0, windows: [16], ratios: [2, 4], chunks: {chunks}}}]")
    with pytest.raises(RecipeError, match="must not be below the longest row of chunks of the curriculum"):
        load_training("bad", "curriculum=[{until: 1.0, windows: [16], ratios: [2, 4], chunks: [1, 9]}]")
