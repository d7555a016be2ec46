"""The suite ask: what stands before a question, what is asked, what is left out. Run: pytest tests/eval/test_ask.py"""

import json
import re
import shutil
import sys
from argparse import ArgumentParser
from collections import Counter
from dataclasses import replace

import pytest
import torch

from c3 import C3Model
from c3.cache_size_c3 import cache_bytes
from c3.decoder_rows_c3 import TextSegment, row_length
from c3.eval import asking
from c3.eval.asking import ask
from c3.eval.baselines.asked_text import WAYS
from c3.eval.harness import Options
from c3.eval.questions.material import Material
from c3.eval.questions.rows import Wanted, make_rows
from c3.eval.suites import ask as suite
from eval_files import load, main, write_lines
from question_corpus import make_corpus

pytest.importorskip("bm25s")
TASKS = "single-words-prose", "many_values-numbers-noise", "presence-yes"
OPTIONS = ["--ratios", "2", "8", "--baselines", *(name for name in WAYS if name != "latents")]


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("uniform")


@pytest.fixture(scope="module")
def rows(tokenizer):
    """A question of each task at two lengths, of which the longer, as raw text, has no room in the tiny decoder."""
    material = Material(make_corpus(), tokenizer, "test")
    wanted = [Wanted(task, length, length / 600, 0) for length in (300, 600) for task in TASKS]
    return list(make_rows(material, wanted))


@pytest.fixture
def arguments(checkpoint, rows, tmp_path):
    questions = write_lines(tmp_path / "questions.jsonl", rows)
    return ["ask", "--model", str(checkpoint), "--questions", str(questions), "--device", "cpu", *OPTIONS]


@pytest.fixture
def examples(model, rows, tmp_path):
    """As the suite makes them of these rows."""
    path = write_lines(tmp_path / "questions.jsonl", rows)
    return make_examples(model, "--questions", str(path))


def make_examples(model, *argv):
    parser = ArgumentParser()
    suite.add_arguments(parser)
    args = parser.parse_args([*OPTIONS, *argv])
    args.limit = args.data = None
    examples, left_out = suite.prepare(args, [], model, None, 32)
    assert left_out == []
    return examples


OPTIONS_OF_ENGINE = Options(window=32, batch_size=16, steps=0)


def test_what_stands_before_the_question(model, rows, examples):
    """As many tokens as latents, of the very text; the rows are laid out as those of training with raw text."""
    processor = model.processor
    standing = {name: way(model, examples, OPTIONS_OF_ENGINE) for name, way in WAYS.items()}
    assert len(examples) == 2 * len(rows) and {example.setting for example in examples} == {"2x", "8x"}
    for place, example in enumerate(examples):
        ids, count = processor.encode(example.page.text), example.latents
        assert count == len(ids) // int(example.setting.removesuffix("x"))
        assert standing["no-text"][place].segments == []
        kept = {
            name: standing[name][place].segments[0].ids for name in ("raw-text", "head", "tail", "both-ends", "bm25")
        }
        assert kept["raw-text"] == ids
        assert kept["head"] == ids[:count] and kept["tail"] == ids[len(ids) - count :]
        half = (count + 1) // 2
        assert kept["both-ends"] == ids[:half] + ids[len(ids) - (count - half) :]
        assert len(kept["bm25"]) == count
        for name in ("latents", "mean-pooling"):
            assert row_length(standing[name][place].segments) == len(standing[name][place].values) == count
        by_hand = processor.row([TextSegment(ids)], example.prompt)
        assert processor.row(standing["raw-text"][place].segments, example.prompt) == by_hand
    assert not torch.equal(standing["latents"][0].values, standing["mean-pooling"][0].values)


def test_answers_are_those_of_generate(model, examples):
    """From latents those of the model, after raw text those of its decoder; whatever is in the same batch."""
    short = [example for example in examples if example.length == 300]
    # Limits that differ, in one batch.
    examples = [replace(example, is_timed=False, new_tokens=4 + place) for place, example in enumerate(short)]
    settings = {"do_sample": False, "eos_token_id": 0, "pad_token_id": 0}
    said = {name: ask(model, examples, OPTIONS_OF_ENGINE, WAYS[name]) for name in ("latents", "raw-text")}
    for example, from_latents, from_text in zip(examples, *said.values(), strict=True):
        most = {"max_new_tokens": example.new_tokens}
        latents = model.compress(example.page.text, ratio=int(example.setting.removesuffix("x")), window=32)
        assert from_latents.said == model.generate(latents, example.prompt, **settings, **most).strip()
        asked = model.processor.encode(example.prompt)
        assert latents.num_latents == example.latents == from_latents.before
        assert from_latents.cache_bytes == cache_bytes(model, example.latents + len(asked))
        ids = model.processor.encode(example.page.text) + asked
        answer = model.decoder.generate(torch.tensor([ids]), **settings, **most)[0, len(ids) :]
        assert from_text.said == model.processor.decode(answer).strip()
    assert len({asked.said for each in said.values() for asked in each}) > len(examples)


def test_every_text_is_compressed_once_and_every_row_is_asked_once(model, examples, monkeypatch):
    texts, asked = [], []
    compress, answer_rows = C3Model.compress, asking.answer_rows
    monkeypatch.setattr(C3Model, "compress", lambda self, text, **k: texts.extend(text) or compress(self, text, **k))
    monkeypatch.setattr(
        asking, "answer_rows", lambda m, rows, *more: asked.append(len(rows)) or answer_rows(m, rows, *more)
    )
    twice = [replace(example, is_timed=False) for example in examples if example.length == 300 for _ in range(2)]
    ask(model, twice, OPTIONS_OF_ENGINE, WAYS["latents"])
    ask(model, twice, OPTIONS_OF_ENGINE, WAYS["raw-text"])
    # Raw text is the same at both ratios.
    assert (len(texts), asked) == (len(twice) // 2, [len(twice), len(twice) // 4])


@pytest.fixture
def right(monkeypatch):
    """What a decoder answers to each question where it reads latents; otherwise it answers nothing of the kind."""
    answers = {}

    def answer(model, rows, values, new_tokens, positions):
        asked = [model.processor.decode(row[-2].ids) for row in rows]
        return ["what?" if some is None else answers[each] for each, some in zip(asked, values, strict=True)]

    monkeypatch.setattr(asking, "answer_rows", answer)
    return answers


def test_right_answers_are_counted_and_what_has_no_room_is_left_out(arguments, rows, right, tmp_path, monkeypatch):
    for row in rows:
        right[row["messages"][0]["content"]] = " and ".join(reversed(row["answers"])).upper() + "."
    monkeypatch.setattr(suite, "TIMED", 1)
    main([*arguments, "--output", str(tmp_path / "out")])
    result = load(tmp_path / "out" / "ask.json")
    examples = result["examples"]
    assert len(examples) == result["n_examples"] == 8 * 2 * len(rows)
    for row in examples:
        too_long = row["method"] == "raw-text" and row["length"] == 600
        wanted = None if too_long else float(row["method"] in ("latents", "mean-pooling"))
        assert row["scores"]["exact_match"] == wanted, row["output"]
        assert (row["too_long"] is not None) == too_long
        assert (row["output"]["said"] is None) == too_long
    report = (tmp_path / "out" / "ask.md").read_text(encoding="utf-8")
    assert re.search(
        r"Left out: raw-text at 600 tokens, 2x, 8x: 6 questions, as what is read takes \d+ positions", report
    )
    line = next(line for line in report.splitlines() if line.startswith("| 600 | 8x | 3 |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:6] == ["100.0% [100%, 100%]", ""] and cells[-1] == "0.0% [0%, 0%]"
    timed = [row for row in examples if row["seconds_to_first_token"] is not None]
    assert {row["length"] for row in timed if row["method"] == "latents"} == {300, 600}
    # One at each length and ratio, in each way that there is room for.
    assert len(timed) == 2 * 2 * len(WAYS) - 2 and "ms, " in report
    for ending in ("png", "svg"):
        assert (tmp_path / "out" / f"ask_depths.{ending}").stat().st_size > 5000
        assert (tmp_path / "out" / f"ask.{ending}").stat().st_size > 5000


def test_a_run_goes_on_and_is_the_same(arguments, tmp_path):
    short = ["--baselines", "head", "--ratios", "4"]
    main([*arguments, *short, "--output", str(tmp_path / "out")])
    before = (tmp_path / "out" / "ask.json").read_bytes()
    main([*arguments, *short, "--output", str(tmp_path / "out")])  # nothing is left to do
    assert (tmp_path / "out" / "ask.json").read_bytes() == before
    result = json.loads(before)
    assert result["methods"] == ["latents", "head"] and [each["name"] for each in result["data"]] == ["questions.jsonl"]


def test_questions_about_a_corpus(checkpoint, tmp_path, capsys):
    """What cannot be made, or read, is named; every task has as many questions at every length."""
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"text": text} for text in make_corpus()])
    options = ["--tasks", *TASKS, "--lengths", "64", "300", "1000", "--depths", "0", "1", "--baselines"]
    options = ["ask", "--model", str(checkpoint), "--corpus", str(corpus), "--ratios", "2", "8", *options]
    main([*options, "--device", "cpu", "--output", str(tmp_path)])
    result = load(tmp_path / "ask.json")
    assert [result["options"][name] for name in ("tasks", "depths", "number", "seed")] == [[*TASKS], [0.0, 1.0], 1, 0]
    counts = Counter((row["task"], row["length"], row["setting"]) for row in result["examples"])
    assert counts == {
        (task, length, setting): 2
        for task in TASKS
        for length, setting in ((300, "2x"), (300, "8x"), (1000, "8x"), (64, "2x"), (64, "8x"))
        if (task, length) != ("single-words-prose", 64) and (task, length) != ("many_values-numbers-noise", 64)
    }
    left_out = "\n".join(result["left_out"])
    assert "many_values-numbers-noise in 64 tokens: there is no room for the needles" in left_out
    assert re.search(r"1000 tokens at 2x: 6 questions, as what is read takes \d+ positions and an answer", left_out)
    assert "but the decoder has 512" in left_out and left_out.split("\n")[0] in capsys.readouterr().out
    assert {row["depth"] for row in result["examples"] if row["task"] == "single-words-prose"} == {0.0, 1.0}


def test_errors(arguments, checkpoint, tmp_path, monkeypatch):
    pages = write_lines(tmp_path / "pages.jsonl", [{"text": "a page"}])
    shutil.copytree(checkpoint, tmp_path / "echo")
    config = load(tmp_path / "echo" / "config.json")
    (tmp_path / "echo" / "config.json").write_text(json.dumps(config | {"reconstruction_only": True}))
    for argv, message in (
        ([*arguments, "--model", str(tmp_path / "echo")], "this model was trained to give texts back and nothing else"),
        (["ask", "--model", str(checkpoint)], "needs something to ask about: give --corpus, --questions or --dataset"),
        ([*arguments, "--questions", "none.jsonl"], "no such file of questions: none.jsonl"),
        ([*arguments, "--data", str(pages)], "--data and --questions both say what is asked about: leave one of"),
        (
            [*arguments, "--tasks", "single"],
            "--tasks is for questions that are made of a corpus: leave it out, as --qu",
        ),
        ([*arguments, "--seed", "0"], "--seed is for questions that are made of a corpus"),
        (
            ["ask", "--model", str(checkpoint), "--dataset", "squad", "--lengths", "300"],
            "--lengths is for questions that are made of a corpus: leave it out, as --dataset brings questions of its",
        ),
    ):
        with pytest.raises((OSError, ValueError), match=message) as error:
            main(argv)
        assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises((OSError, ValueError), match=r"the baseline bm25 needs bm25s: pip install -e .\[eval\]"):
        main(arguments)
