"""Objectives: how each makes its windows and examples, and new ones. Run: pytest tests/training/test_objectives.py"""

import json

import numpy as np
import pytest

from c3 import C3Model
from c3.training.checks import RecipeError
from c3.training.data.curriculum import Curriculum, Phase
from c3.training.data.examples import WindowDataset
from c3.training.data.objectives import OBJECTIVES, RANDOM_WINDOW_RATIO, RowObjective, TextObjective, one_window
from c3.training.run.dry_run import dry_run
from c3.training.run.stages import train
from tiny_models import seen

# Whole blocks of two sources, a short document, one of a single token.
BLOCKS = np.array(
    [[0, 16 * i, 16, 64] for i in range(4)] + [[1, 0, 16, 40], [1, 24, 16, 40], [1, 40, 7, 47], [1, 47, 1, 48]]
)
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


def example_once(dataset, start, length, num_latents, seed, source, continuation):
    """Ids, target and hidden tokens as they were once drawn; one tokenizer serves both sides."""
    rng = np.random.default_rng(seed)
    above = dataset.dropout_halved_above
    dropout = dataset.dropout_windows / (2 if length > above * num_latents else 1)
    share = rng.uniform() if rng.uniform() < dropout else 0.0
    ids = dataset.ids[source][start : start + length]
    if continuation:
        target = dataset.ids[source][start + length : start + length + continuation]
        return ids.tolist(), False, target.tolist(), [False] * len(target)
    if length <= RANDOM_WINDOW_RATIO * num_latents and rng.uniform() < dataset.random_windows:
        replaced = rng.uniform(size=length) < rng.uniform()
        ids = np.where(replaced, rng.choice(dataset.random_ids, size=length), ids)
    return ids.tolist(), True, ids.tolist(), (rng.uniform(size=length) < share).tolist()


@pytest.mark.parametrize("objective", ["reconstruction", "continuation"])
@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS[-1:]], ids=["many", "a single token"])
def test_batches_are_those_that_were_always_made(objective, blocks, make_model):
    options = {"dropout_windows": 0.7, "random_windows": 0.3, "dropout_halved_above": 3}
    dataset = WindowDataset(IDS, make_model().processor, **options)
    phases = [Phase(0.5, [8, 16], [2, 6]), Phase(1.0, [16], num_latents=[2, 4])]
    curriculum = Curriculum(phases, 40, seed=5, objectives={objective: 1.0}, continuation_length=6)
    for index in range(40):
        draw = curriculum.draw(index)
        specs = curriculum.cut(draw, blocks)
        expected = windows_once(curriculum, draw, blocks)
        assert expected == [(e.start, e.length, e.num_latents, e.seed, e.source, e.continuation) for e in specs]
        for spec, values in zip(specs, expected, strict=True):
            found = seen(dataset[spec])
            ((context, num_latents, length),) = found.windows
            assert (num_latents, length) == (spec.num_latents, spec.length) and found.labels == found.target
            assert (context, found.replays, found.target, found.hidden) == example_once(dataset, *values)


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
