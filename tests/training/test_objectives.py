"""Objectives: how each makes its windows and examples, and new ones. Run: pytest tests/training/test_objectives.py"""

import json
from dataclasses import astuple, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import pytest
import torch

from c3 import C3Model, C3Processor
from c3.training.checks import RecipeError
from c3.training.data.collator import C3Collator
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.examples import WindowDataset
from c3.training.data.objective import RowObjective, TextObjective
from c3.training.data.objectives import OBJECTIVES, RANDOM_WINDOW_RATIO, one_window
from c3.training.data.specs import WindowSpec, WindowSpecs
from c3.training.data.tokenizer import train_tokenizer
from c3.training.run.dry_run import dry_run
from c3.training.run.stages import train
from tiny_models import TEXTS, alone, seen, seen_each

# Whole blocks of two sources, short documents, of which halves are alike but not what follows, one of a single token.
BLOCKS = np.array(
    [[0, 16 * i, 16, 64] for i in range(4)]
    + [[1, 0, 16, 40], [1, 24, 16, 40], [1, 32, 8, 40], [1, 40, 7, 47], [1, 47, 1, 48]]
)
PHASES = [Phase(0.5, [8, 16], [2, 6]), Phase(1.0, [16], num_latents=[2, 4])]
IDS = [np.arange(64) % 50 + 3, np.arange(48) % 40 + 9]


def windows_once(curriculum, draw, blocks):
    """Windows as they were once cut, whatever the objective: what is resumed rests on these draws."""
    rng = np.random.default_rng([curriculum.seed, 3, draw.index])
    continued = blocks[blocks[:, 3] - blocks[:, 1] > 1] if draw.objective == "continuation" else ()
    specs = []
    for source, start, length, end in (continued if len(continued) else blocks).tolist():
        room = min(end - start, draw.window + curriculum.continuation_length)
        if len(continued):
            length = min(draw.window, room - min(curriculum.continuation_length, room // 2))
        size, num_latents = draw.shape(length)
        if len(continued):
            following = min(curriculum.continuation_length, room - size)
            specs.append((start, size, num_latents, int(rng.integers(2**31)), source, following))
            continue
        for first in range(start, start + length - size + 1, size):
            specs.append((first, size, num_latents, int(rng.integers(2**31)), source, 0))
    return specs


def batch_once(dataset, windows):
    """Ids, target and hidden tokens of the windows of a batch as they were once drawn; one tokenizer for both sides."""
    rng = np.random.default_rng(windows[0][3])
    above = dataset.dropout_halved_above

    def shares(chances):
        drawn = rng.random((2, len(chances))).T.tolist()
        return [share if each < chance else 0.0 for (each, share), chance in zip(drawn, chances, strict=True)]

    continues = bool(windows[0][5])
    halved = [length > above * num_latents for _, length, num_latents, *_ in windows]
    hidden_shares = shares([0 if continues else dataset.dropout_windows / (2 if each else 1) for each in halved])
    is_low = [length <= RANDOM_WINDOW_RATIO * num_latents for _, length, num_latents, *_ in windows]
    random_shares = shares([0 if continues else dataset.random_windows * each for each in is_low])
    batch = []
    # Neighbours that are alike.
    for (length, _, following), group in groupby(
        range(len(windows)), lambda place: itemgetter(1, 2, 5)(windows[place])
    ):
        group = list(group)
        at = [(dataset.ids[windows[place][4]], windows[place][0]) for place in group]
        ids = np.array([source[start : start + length] for source, start in at])
        if any(random_shares[place] for place in group):
            replaced = rng.random(ids.shape) < np.array([[random_shares[place]] for place in group])
            ids[replaced] = rng.choice(dataset.random_ids, size=replaced.sum())
        hidden, targets = np.zeros(ids.shape, dtype=bool), ids.tolist()
        if any(hidden_shares[place] for place in group):
            hidden = rng.random(ids.shape) < np.array([[hidden_shares[place]] for place in group])
        if continues:
            hidden = np.zeros((len(group), following), dtype=bool)
            targets = [source[start + length : start + length + following].tolist() for source, start in at]
        together = zip(ids.tolist(), targets, hidden.tolist(), strict=True)
        batch += [(text, not continues, target, hides) for text, target, hides in together]
    return batch


@pytest.mark.parametrize("objective", ["reconstruction", "continuation"])
@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS[-1:]], ids=["many", "a single token"])
def test_batches_are_those_that_were_always_made(objective, blocks, make_model):
    options = {"dropout_windows": 0.7, "random_windows": 0.3, "dropout_halved_above": 3}
    dataset = WindowDataset(IDS, make_model().processor, **options)
    curriculum = Curriculum(PHASES, 40, seed=5, objectives={objective: 1.0}, continuation_length=6)
    for index in range(40):
        draw = curriculum.draw(index)
        specs = curriculum.cut(draw, blocks)
        expected = windows_once(curriculum, draw, blocks)
        assert expected == [(e.start, e.length, e.num_latents, e.seed, e.source, e.continuation) for e in specs]
        batch = seen_each(dataset.__getitems__(specs))
        for spec, found in zip(specs, batch, strict=True):
            ((_, num_latents, length),) = found.windows
            assert (num_latents, length) == (spec.num_latents, spec.length) and found.labels == found.target
        found = [(each.windows[0][0], each.replays, each.target, each.hidden) for each in batch]
        assert found == batch_once(dataset, expected)
        # A window alone is a batch of one.
        (single,) = batch_once(dataset, expected[-1:])
        assert seen(dataset[specs[-1]]).hidden == single[-1]


WRAPPED = {"prompt_template": "<|endoftext|>a {latents}b {prompt}c ", "context_template": "d {context}e {queries}f"}


@pytest.mark.parametrize("templates", [{}, WRAPPED], ids=["bare", "wrapped"])
@pytest.mark.parametrize("layout", ["uniform", "appended"])
def test_windows_that_are_laid_out_together_are_as_each_alone(layout, templates, make_model):
    """Tensor for tensor, packed or not; batches of short documents are of many lengths, others of one."""
    processor = make_model(layout, **templates).processor
    dataset = WindowDataset(IDS, processor, dropout_windows=0.7, random_windows=0.3)
    objectives = {"reconstruction": 2.0, "continuation": 1.0}
    curriculum = Curriculum(PHASES, 12, seed=5, objectives=objectives, continuation_length=6)
    packed = []
    for index in range(12):
        for blocks in (BLOCKS, BLOCKS[:4]):
            specs = curriculum.cut(curriculum.draw(index), blocks)
            together = dataset.__getitems__(specs)
            each_alone = [each for example in together for each in alone(example)]
            assert len(each_alone) == len(specs) > len(together)
            for pack in (False, True):
                collate = C3Collator(processor, pack)
                ours, theirs = collate(together), collate(each_alone)
                assert ours.keys() == theirs.keys() and ours.pop("logits_to_keep") == theirs.pop("logits_to_keep")
                for name in ("context_places", "latent_places"):
                    assert ours.pop(name) == theirs.pop(name)
                for name, tensor in ours.items():
                    assert tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name]), name
                    assert tensor.is_contiguous()
            packed.append(len(ours["context_input_ids"]) < len(specs))
    assert {True, False} == set(packed)


def test_windows_of_two_tokenizers_are_laid_out_alone(make_model, tokenizer):
    """Ids that are alike may be texts of unlike lengths; as many tokens are hidden as the text has."""
    other = train_tokenizer(TEXTS[::-1] * 4, vocab_size=270)
    processor = C3Processor.from_config(make_model("appended").config, tokenizer, other)
    dataset = WindowDataset([np.array(processor.encode(TEXTS[2] * 9))], processor, dropout_windows=1.0)
    for objective, continuation in (("reconstruction", 0), ("continuation", 9)):
        spec = WindowSpec(0, 20, 4, 0, continuation=continuation, objective=objective)
        specs = [replace(spec, start=start, seed=start) for start in range(40)]
        arrays = zip(*(astuple(each)[:-1] for each in specs), strict=True)
        batch = dataset.__getitems__(WindowSpecs(*map(np.array, arrays), objective))
        assert len(batch) == 40
        for spec, found in zip(specs, seen_each(batch), strict=True):
            window = dataset.window(dataset.ids[0][spec.start : spec.start + 20])
            assert found.windows == [(window.context, 4, len(window.text_ids))]
            after = dataset.window(dataset.ids[0][spec.start + 20 : spec.start + 29])
            assert found.target == (after if continuation else window).text_ids
            assert len(found.hidden) == len(found.target)
        C3Collator(processor)(batch)


def test_what_a_model_of_each_can_do(load_training, tmp_path):
    """Only reconstruction, in whatever company it is named with a weight of 0, says that it can do nothing else."""
    (tmp_path / "rows.jsonl").write_text("{}")
    for objectives, only in (
        ("{reconstruction: 1, continuation: 0}", True),
        ("{continuation: 1}", False),
        ("{reconstruction: 1, continuation: 1}", False),
        ("{instruction: 1}", False),
    ):
        recipe = load_training("only", f"objectives={objectives}", f"instruction_data={tmp_path / 'rows.jsonl'}")
        assert recipe.reconstruction_only is only


class LastWords(TextObjective):
    """The last tokens of a window are said after a prompt."""

    def example(self, spec, dataset):
        window = dataset.window(dataset.ids[spec.source][spec.start : spec.start + spec.length])
        return one_window(dataset.processor, window, spec.num_latents, "How does it end?", window.text_ids[-3:])


class SummaryRows:
    """Rows of a text and its summary."""

    def __init__(self, rows, processor):
        self.processor, self.rows = processor, list(rows)
        both = [[processor.encode(row[name]) for name in Summary.columns] for row in self.rows]
        self.lengths = np.array([[len(ids) for ids in each] for each in both])

    def __str__(self):
        return f"{len(self.rows)} summaries"

    def example(self, draw, index):
        row = self.rows[index]
        ids, target = self.processor.encode(row["article"])[: draw.window], self.processor.encode(row["summary"])
        window = self.processor.window_of(ids)
        return one_window(self.processor, window, draw.shape(len(ids))[1], "Sum it up.", target)


class Summary(RowObjective):
    """A text is summed up."""

    columns = ("article", "summary")

    def examples(self, rows, processor, recipe, name):
        return SummaryRows(rows, processor)


@pytest.fixture
def new_objectives(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "last_words", LastWords())
    monkeypatch.setitem(OBJECTIVES, "summary", Summary())


@pytest.mark.parametrize("streaming", [False, True])
def test_new_objectives_are_a_class_and_a_line(streaming, new_objectives, load_training, make_model, tmp_path, capsys):
    """One on documents and one on rows of its own, beside the others and alone, in a dry run and in a run."""
    rows = [{"article": f"{n} was the best of times, it was the worst of times.", "summary": f"{n}"} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    make_model().processor.tokenizer.save_pretrained(tmp_path / "tokenizer")
    texts = load_training("texts").train_data[0].path
    options = [
        f"train_data={json.dumps({'path': texts, 'streaming': streaming})}",
        f"tokenizer={tmp_path / 'tokenizer'}",
        f"instruction_data={tmp_path / 'rows.jsonl'}",
        "training.max_steps=6",
        "training.eval_strategy=no",
        "training.save_strategy=no",
    ]
    mixed = load_training(f"new {streaming}", "objectives={reconstruction: 1, last_words: 1, summary: 1}", *options)
    assert (mixed.text_objectives, mixed.row_objectives) == (["reconstruction", "last_words"], ["summary"])
    assert not C3Model.from_pretrained(train(mixed)).config.reconstruction_only
    assert "rows.jsonl: 20 summaries." in capsys.readouterr().err
    for name, said in (("last_words", "How does it end?"), ("summary", "Sum it up.")):
        report = dry_run(load_training("new alone", f"objectives={{{name}: 1}}", *options))
        assert said in report.partition("an example, from")[2]


def test_what_new_objectives_need(new_objectives, load_training):
    with pytest.raises(RecipeError, match="objectives.summary needs instruction_data, rows of article and summary"):
        load_training("none", "objectives={summary: 1}")
    with pytest.raises(RecipeError, match="train_data: name at least one file or dataset"):
        load_training("none", "objectives={last_words: 1}", "train_data=[]")
    with pytest.raises(RecipeError, match="objectives: unknown key last_word; did you mean last_words?"):
        load_training("none", "objectives={last_word: 1}")
