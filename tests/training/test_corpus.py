"""Train data of a recipe as batches: workers, and how sources are mixed. Run: pytest tests/training/test_corpus.py"""

import json
import math
import shutil
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import torch

from c3.position_limits_c3 import taken_positions
from c3.training.checks import RecipeError
from c3.training.data.collator import C3Collator
from c3.training.data.corpus import Corpus, _interleaved
from c3.training.data.documents import DataSource, position_of
from c3.training.data.exact_strings import exact_strings
from c3.training.data.sources import GeneratedSource, train_texts
from c3.training.data.specs import Draw
from c3.training.run.build import make_tokenizer
from c3.training.run.checkpoints import layout_of, mark_complete
from c3.training.run.resuming import check_draws
from c3.training.run.stages import train
from tiny_models import TEXTS, history


@pytest.fixture
def conversations(tmp_path):
    """A file of conversations over texts of different lengths, one of them very long."""
    rows = [
        {
            "context": f"{number} {TEXTS[0]}" * times,
            "messages": [{"role": "user", "content": "Which age?"}, {"role": "assistant", "content": f"{number}."}],
        }
        for number, times in enumerate([1, 2, 1, 40, 2, 1, 1])
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def make_corpus(load_training, training_folder, make_model, conversations):
    """`make_corpus(*overrides)`: two weighted sources and conversations; what it said is in its `said`."""
    sources = [{"path": str(training_folder / f"{name}.jsonl"), "weight": 1} for name in ("train", "validation")]
    objectives = "objectives={reconstruction: 2, continuation: 1, instruction: 1}"

    def make(*overrides, processor=None, positions=math.inf):
        options = [f"train_data={json.dumps(sources)}", f"instruction_data={conversations}", objectives, *overrides]
        recipe, said = load_training("corpus", *options), []
        corpus = Corpus(recipe, processor or make_model("uniform").processor, said.append, positions=positions)
        corpus.said = said
        return corpus

    return make


def batches(corpus):
    loader, _ = corpus.data_loader(24, seed=3, collator=C3Collator(corpus.processor))
    return [
        {name: each.tolist() if torch.is_tensor(each) else each for name, each in batch.items()} for batch in loader
    ]


def test_rows_of_two_objectives_are_read_once(make_corpus):
    corpus = make_corpus("objectives={instruction: 1, instruction_on_text: 1}")
    assert corpus.rows["instruction"] is corpus.rows["instruction_on_text"]
    assert sum("conversations" in line for line in corpus.said) == 1
    latent = corpus.processor.latent_token_id
    has_latents = {all(latent in row for row in batch["input_ids"]) for batch in batches(corpus)}
    assert has_latents == {True, False}


def test_workers_make_the_same_batches_in_the_same_order(make_corpus):
    alone = batches(make_corpus("training.dataloader_num_workers=0"))
    corpus = make_corpus("training.dataloader_num_workers=2")
    assert corpus.data_loader(24, 3, None)[0].num_workers == 2
    assert len(alone) == 24 and alone[0] != alone[1]
    assert batches(corpus) == alone


def test_a_run_with_workers_goes_on_where_it_was_stopped(load_training, capsys):
    """With the losses of one without workers; a checkpoint that was drawn otherwise goes on, and says so."""
    options = ["training.max_steps=4", "training.eval_strategy=no", "evaluation={}", "validation_data=[]"]
    alone = load_training("no workers", *options)
    train(alone)
    recipe = load_training("workers", *options, "training.dataloader_num_workers=2")
    output = Path(recipe.output_dir)
    train(recipe)
    assert history(output) == history(Path(alone.output_dir)) and len(history(output)) == 4
    shutil.rmtree(output / "checkpoint-4")
    layout = layout_of(output / "checkpoint-2")
    old = {key: value for key, value in layout.items() if key != "draws"}
    mark_complete(output / "checkpoint-2", old)
    train(recipe)
    assert history(output) == history(Path(alone.output_dir))
    assert "checkpoint-2 was written by a version of c3 that drew otherwise which" in capsys.readouterr().err
    none = {"dropout_windows": 0.0, "random_windows": 0.0}
    for then, changes, is_told in (
        (old, {"dropout_windows": 0.0}, True),
        (old, none, False),
        (old, {"objectives": {"continuation": 1.0}}, False),
        (layout, {}, False),
    ):
        told = []
        check_draws("checkpoint-2", then, replace(recipe, **changes), told.append)
        assert bool(told) == is_told


def test_long_contexts_are_left_out_and_named(make_corpus):
    """A context may hold as many tokens as a batch, unless the recipe says otherwise."""
    (found,) = (line for line in make_corpus("tokens_per_batch=256").said if "conversations" in line)
    assert "chat.jsonl: 6 conversations; 0 left out: no context, or no alternating messages; " in found
    assert "1 left out: a conversation above 1024 tokens, or a context above 256 (" in found
    assert found.endswith("chat.jsonl, row 3).")
    (found,) = (line for line in make_corpus("max_context_length=100000").said if "conversations" in line)
    assert "chat.jsonl: 7 conversations; " in found


@pytest.mark.parametrize("streaming", [False, True])
def test_long_contexts_come_when_short_ones_are_learned(
    streaming, make_corpus, training_folder, conversations, tmp_path
):
    """In the phases that say so, whether the texts beside them stream or not; also in what a dry run shows."""
    lines = conversations.read_text(encoding="utf-8").splitlines()
    conversations.write_text("\n".join(lines[3:] + lines[:3]), encoding="utf-8")  # a long one is the first
    source = {"path": str(training_folder / "train.jsonl"), "streaming": streaming}
    options = [f"train_data={json.dumps(source)}", f"tokenizer={tmp_path}", "max_context_length=100000"]

    def make(*limits, objectives="{reconstruction: 1, instruction: 2}"):
        phase = {"windows": [16], "ratios": [2, 4]}
        ends = [{"until": (n + 1) / len(limits), "longest_context": each} | phase for n, each in enumerate(limits)]
        return make_corpus(*options, f"curriculum={json.dumps(ends)}", f"objectives={objectives}")

    lengths = make(None).rows["instruction"].lengths[:, 0]
    longest = int(np.sort(lengths)[4])
    assert lengths[0] == lengths.max() > 9 * longest
    halves = [], []
    for number, batch in enumerate(make(longest, None).data_loader(24, 3, list)[0]):
        halves[number >= 12].extend(sum(map(len, each.contexts)) for each in batch if not each.row[-1].replays)
    assert {*halves[0]} == {*lengths[lengths <= longest].tolist()} and {*halves[1]} == {*lengths.tolist()}
    shown = make(longest, None, objectives="{instruction: 1}").example()
    assert shown["context_attention_mask"].gt(0).sum() < 2 * longest
    with pytest.raises(RecipeError, match="The instruction data with contexts of at most 1 tokens hold 0 tokens, but"):
        make(None, 1).check_rows()


def test_streams_are_read_by_the_training_process(load_training, training_folder, make_model, tmp_path):
    source = json.dumps({"path": str(training_folder / "train.jsonl"), "streaming": True})
    make_model().processor.tokenizer.save_pretrained(tmp_path)
    options = f"train_data={source}", f"tokenizer={tmp_path}", "training.dataloader_num_workers=2"
    with pytest.raises(RecipeError, match="training.dataloader_num_workers: streamed data are read by the training pr"):
        load_training("stream", *options)


def test_weights_of_streams_are_shares_of_the_documents(load_training, tmp_path):
    """However long they are; without weights one of each in turn, shorter sources again and again."""

    recipe = load_training("mixed", "training.seed=0", f"tokenizer={tmp_path}")

    def mixed(*weights):
        sources = []
        for name, text, count, weight in zip("ab", ("long " * 50, "short"), (400, 30), weights, strict=True):
            path = tmp_path / f"{name}.jsonl"
            path.write_text("\n".join([json.dumps({"text": text})] * count))
            sources.append(DataSource(str(path), weight=weight, streaming=True))
        return [row["text"] == "short" for row in islice(_interleaved(replace(recipe, train_data=sources)), 400)]

    assert sum(mixed(1, 3)) / 400 == pytest.approx(0.75, abs=0.06)
    assert mixed(None, None) == [False, True] * 200


# Rows for which a decoder has no positions


@pytest.mark.parametrize(
    ("layout", "prompt_positions"),
    [("appended", "consecutive"), ("uniform", "consecutive"), ("uniform", "among_text")],
)
def test_rows_that_the_decoder_has_no_positions_for(layout, prompt_positions, make_corpus, make_model):
    """As raw text or as the most latents that are drawn; what is left takes no more, and the log says how many went."""
    template = {"prompt_template": "a{latents}b{prompt}c", "prompt_positions": prompt_positions}
    model = make_model(layout, num_latents=16, **template)
    curriculum = [
        {"until": 0.5, "windows": [16], "ratios": [4, 8]},
        {"until": 1, "windows": [16, 32], "ratios": [4, 8], "objective_ratios": {"instruction": [2, 8]}},
    ]
    options = ["objectives={instruction: 1, instruction_on_text: 1}", f"curriculum={json.dumps(curriculum)}"]
    options += ["max_context_length=100000", "max_target_length=99"]
    corpus = make_corpus(*options, processor=model.processor)
    whole = corpus.rows["instruction"]
    assert corpus.rows["instruction_on_text"] is whole and len(corpus.said) == 1

    def taken(name, index):
        make = whole.example if name == "instruction" else whole.example_with_text
        draws = [Draw(0, window, ratio, name) for window, ratio in product([16, 32], [2, 4, 8])]
        return taken_positions(model.config, [make(draw, index).row for draw in draws])

    for name in corpus.rows:
        needed = [taken(name, index) for index in range(len(whole))]
        # One context is many times as long as the others; a last, shorter window counts as a whole one.
        limit = sorted(needed)[-2] + 16
        fitting = make_corpus(*options, processor=model.processor, positions=limit)
        assert fitting.rows[name].examples == [
            each for each, most in zip(whole.examples, needed, strict=True) if most <= limit
        ]
        assert len(fitting.rows[name].lengths) == len(whole) - 1
        said = f"{name}: 1 of 7 rows left out, which may take more than the decoder's {limit} positions."
        assert said in fitting.said and list(batches(fitting))
    with pytest.raises(RecipeError, match="^objectives.instruction: each of 7 rows may take more than the decoder's 9"):
        make_corpus(*options, processor=model.processor, positions=9)


# Texts that are made, and line ends


GENERATED = "{generate: exact_strings, characters: 20000, seed: 1}"


def test_generated_texts_beside_a_file(load_training, training_folder, make_model):
    """Alone, beside a file, with weights: with the log and the tokenizer of a source that is read."""
    path = training_folder / "train.jsonl"
    recipe = load_training("generated", f"train_data=[{path}, {GENERATED}]")
    assert recipe.train_data == [DataSource(str(path)), GeneratedSource("exact_strings", 20000, 1)]
    documents = list(exact_strings(20000, seed=1))
    assert list(train_texts(recipe, recipe.train_data[1])["text"]) == documents
    said, processor = [], make_model("uniform").processor
    corpus = Corpus(recipe, processor, said.append)
    assert said[1].startswith(f"exact_strings, generated: {len(documents)} documents, 0 without text")
    ids = [index for text in documents for index in processor.encode(text)]
    assert corpus.streams[1].ids.tolist() == ids
    assert len(make_tokenizer(recipe)) == 300
    generated = GENERATED.replace("}", ", weight: 3}")
    weighted = load_training("weighted", f"train_data=[{{path: {path}, weight: 1}}, {generated}]")
    sampler = Corpus(weighted, processor, said.append).data_loader(200, 0, None)[0].batch_sampler
    sources = [batch[0].source for batch in sampler]
    assert sum(sources) / 200 == pytest.approx(0.75, abs=0.08)
    endless = replace(recipe, train_data=[GeneratedSource("exact_strings", 10**12)])
    looked = Corpus(endless, processor, print, max_documents=2)
    assert looked.streams[0].num_documents == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_share_of_the_documents_gets_other_line_ends(streaming, load_training, tmp_path):
    """The same ones in every run, whether they stream or not and whatever is kept; lines that end so stay so."""
    texts = [f"line {number}\nand\r\nanother\n" for number in range(1000)]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in [*texts, None]), encoding="utf-8")
    source = json.dumps({"path": str(path), "streaming": streaming, "keep": 0.5})
    options = ["crlf_documents=0.1", f"train_data={source}", f"tokenizer={tmp_path}"]
    recipe = load_training("lines", *options)
    found = [row["text"] for row in train_texts(recipe, recipe.train_data[0])]
    kept = [text for text in [*texts, None] if position_of(text, "keep") < 0.5]
    changed = {text for text in kept if position_of(text, "crlf") < 0.1}
    assert len(changed) == pytest.approx(50, abs=20)
    assert found == [f"line {text.split()[1]}\r\nand\r\nanother\r\n" if text in changed else text for text in kept]
    plain = load_training("lines", *options[1:])
    assert [row["text"] for row in train_texts(plain, plain.train_data[0])] == kept
