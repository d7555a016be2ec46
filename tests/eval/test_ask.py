"""The suite ask: what stands before a question, what is asked, what is left out. Run: pytest tests/eval/test_ask.py"""

import json
import re
import shutil

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
from c3.eval.suites import SUITES
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
    """Two questions of each task at two lengths, of which the longer, as raw text, has no room in the tiny decoder."""
    material = Material(make_corpus(), tokenizer, "test")
    wanted = [Wanted(task, length, i / 1, i) for length in (300, 600) for task in TASKS for i in range(2)]
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
    import argparse

    parser = argparse.ArgumentParser()
    SUITES["ask"].add_arguments(parser)
    args = parser.parse_args([*OPTIONS, *argv])
    args.limit = None
    examples, left_out = SUITES["ask"].prepare(args, [], model, None, 32)
    assert left_out == []
    return examples


OPTIONS_OF_ENGINE = Options(window=32, batch_size=16, steps=0)


def test_what_stands_before_the_question(model, examples):
    """As many tokens as latents, of the very text; the rows are laid out as those of training with raw text."""
    processor = model.processor
    standing = {name: way(model, examples, OPTIONS_OF_ENGINE) for name, way in WAYS.items()}
    assert len(examples) == 2 * 12 and {example.setting for example in examples} == {"2x", "8x"}
    for place, example in enumerate(examples):
        ids, count = processor.encode(example.page.text), example.latents
        assert count == len(ids) // int(example.setting.removesuffix("x"))
        kept = {name: each[place].segments[0].ids for name, each in standing.items() if each[place].values is None}
        assert "no-text" not in kept and standing["no-text"][place].segments == []
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
    """One at a time, and whatever is in the same batch."""
    found = ask(model, examples, OPTIONS_OF_ENGINE, WAYS["latents"])
    for example, asked in zip(examples[::5], found[::5], strict=True):
        latents = model.compress(example.page.text, ratio=int(example.setting.removesuffix("x")), window=32)
        assert latents.num_latents == example.latents == asked.before
        settings = {"do_sample": False, "max_new_tokens": example.new_tokens, "eos_token_id": 0}
        assert asked.said == model.generate(latents, example.prompt, **settings).strip()
        length = latents.num_latents + len(model.processor.encode(example.prompt))
        assert asked.cache_bytes == cache_bytes(model, length)
    short = [example for example in examples if example.length == 300]
    raw = ask(model, short, OPTIONS_OF_ENGINE, WAYS["raw-text"])
    ids = model.processor.row([TextSegment(model.processor.encode(short[0].page.text))], short[0].prompt)
    batch = model.processor.decoder_inputs([ids])
    logits = model(**batch, use_cache=False).logits
    assert model.processor.encode(raw[0].said)[:1] == [int(logits[0, -1].argmax())] or raw[0].said == ""
    # Any number of questions at once give the same answers.
    alone = [ask(model, [example], OPTIONS_OF_ENGINE, WAYS["raw-text"])[0].said for example in short[:3]]
    assert alone == [asked.said for asked in raw[:3]] and len(set(alone)) > 1


def test_every_text_is_compressed_once_and_every_row_is_asked_once(model, examples, monkeypatch):
    texts, asked = [], []
    compress, answer_rows = C3Model.compress, asking.answer_rows
    monkeypatch.setattr(C3Model, "compress", lambda self, text, **k: texts.append(text) or compress(self, text, **k))
    monkeypatch.setattr(
        asking, "answer_rows", lambda m, rows, *more: asked.append(len(rows)) or answer_rows(m, rows, *more)
    )
    twice = [example for example in examples if not example.is_timed for _ in range(2)]
    ask(model, twice, OPTIONS_OF_ENGINE, WAYS["latents"])
    assert len(texts) == len(twice) // 2 and asked == [len(twice)]
    raw = [example for example in twice if example.length == 300]
    ask(model, raw, OPTIONS_OF_ENGINE, WAYS["raw-text"])
    assert asked[1] == len(raw) // 4  # at two ratios


@pytest.fixture
def right(monkeypatch):
    """A decoder that answers right where it reads latents, and says nothing of the kind otherwise."""

    def answer(model, rows, values, new_tokens, positions):
        return [
            right.answers[model.processor.decode(row[-2].ids)] if some is not None else "what?"
            for row, some in zip(rows, values, strict=True)
        ]

    right.answers = {}
    monkeypatch.setattr(asking, "answer_rows", answer)
    return right.answers


def test_right_answers_are_counted_and_what_has_no_room_is_left_out(arguments, rows, right, tmp_path, capsys):
    for row in rows:
        right[row["messages"][0]["content"]] = " and ".join(reversed(row["answers"])).upper() + "."
    main([*arguments, "--output", str(tmp_path / "out")])
    result = load(tmp_path / "out" / "ask.json")
    examples = result["examples"]
    assert len(examples) == result["n_examples"] == 8 * 2 * len(rows)
    for row in examples:
        too_long = row["method"] == "raw-text" and row["length"] == 600
        wanted = None if too_long else float(row["method"] in ("latents", "mean-pooling"))
        assert row["scores"]["exact_match"] == wanted
        assert (row["too_long"] is not None) == too_long
        assert (row["output"]["said"] is None) == too_long
    report = capsys.readouterr().out
    assert report.strip() == (tmp_path / "out" / "ask.md").read_text(encoding="utf-8").strip()
    assert re.search(
        r"Left out: raw-text at 600 tokens, 2x, 8x: 12 questions, as what is read takes \d+ positions", report
    )
    line = next(line for line in report.splitlines() if line.startswith("| 600 | 8x | 6 |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:6] == ["100.0% [100%, 100%]", ""] and cells[-1] == "0.0% [0%, 0%]"
    timed = [row for row in examples if row["seconds_to_first_token"] is not None]
    assert {row["length"] for row in timed if row["method"] == "latents"} == {300, 600}
    assert len(timed) == 2 * 3 * 2 * 8 - 3 * 2 and "ms, " in report
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
    assert result["methods"] == ["latents", "head"] and result["asked_about"] == ["questions.jsonl"]


def test_questions_about_a_corpus(checkpoint, tmp_path, capsys):
    """What cannot be made, or read, is named; every task has as many questions at every length."""
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"text": text} for text in make_corpus()])
    options = ["--tasks", *TASKS, "--lengths", "64", "300", "1000", "--depths", "0", "1", "--baselines"]
    options = ["ask", "--model", str(checkpoint), "--corpus", str(corpus), "--ratios", "2", "8", *options]
    main([*options, "--device", "cpu", "--output", str(tmp_path)])
    result = load(tmp_path / "ask.json")
    counts = {}
    for row in result["examples"]:
        key = row["task"], row["length"], row["setting"]
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        (task, length, setting): 2
        for task in TASKS
        for length, setting in ((300, "2x"), (300, "8x"), (1000, "8x"), (64, "2x"), (64, "8x"))
        if (task, length) != ("single-words-prose", 64) and (task, length) != ("many_values-numbers-noise", 64)
    }
    left_out = "\n".join(result["left_out"])
    assert "single-words-prose in 64 tokens: there is no room for the needles" in left_out
    assert re.search(r"1000 tokens at 2x: 6 questions, as what is read takes \d+ positions and an answer", left_out)
    assert "but the decoder has 512" in left_out and left_out.split("\n")[0] in capsys.readouterr().out
    assert {row["depth"] for row in result["examples"] if row["task"] == "single-words-prose"} == {0.0, 1.0}


def test_errors(arguments, checkpoint, tmp_path, monkeypatch):
    shutil.copytree(checkpoint, tmp_path / "echo")
    config = load(tmp_path / "echo" / "config.json")
    (tmp_path / "echo" / "config.json").write_text(json.dumps(config | {"reconstruction_only": True}))
    for argv, message in (
        ([*arguments, "--model", str(tmp_path / "echo")], "this model was trained to give texts back and nothing else"),
        (["ask", "--model", str(checkpoint)], "needs something to ask about: give --corpus, --questions or --dataset"),
        ([*arguments, "--questions", "none.jsonl"], "no such file of questions: none.jsonl"),
    ):
        with pytest.raises((OSError, ValueError), match=message) as error:
            main(argv)
        assert "\n" not in str(error.value)
    monkeypatch.setitem(__import__("sys").modules, "bm25s", None)
    with pytest.raises((OSError, ValueError), match=r"the baseline bm25 needs bm25s: pip install 'c3-latent\[eval\]'"):
        main(arguments)
