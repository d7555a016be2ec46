"""`c3 data questions`: what it writes can be trained on. Run: pytest tests/cli/test_data_questions.py"""

import json

import pytest

from c3.eval.questions import rows as question_rows
from c3.training.data.documents import load_columns
from c3.training.data.instructions import InstructionExamples
from eval_files import write_lines
from question_corpus import make_corpus

TASKS = "--tasks", "single-words", "next_sentence", "presence", "common_words", "--lengths", "200", "400"


@pytest.fixture
def corpus(tmp_path):
    return write_lines(tmp_path / "corpus.jsonl", [{"text": text} for text in make_corpus()])


@pytest.fixture
def make(run, corpus, checkpoint):
    """`make("-o", file, …)`: questions about the corpus, in tokens of the tiny tokenizer."""
    return lambda *argv: run("data", "questions", corpus, "--count-with", checkpoint, "--quiet", *argv)


def test_rows_can_be_trained_on(make, tmp_path, uniform, training_folder):
    """Of either kind of file; whatever other columns there are."""
    files = [tmp_path / "a.jsonl", tmp_path / "a.parquet"]
    for file in files:
        code, out, err = make("-o", file, "--number", "80", *TASKS)
        assert (code, err) == (0, "")
        assert out == f"{file}: 80 rows (single 20, common_words 20, next_sentence 20, presence 20)\n"
    lines = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    whole = load_columns(files[1], list(lines[0]))
    assert whole.to_list() == lines
    assert {row["length"] for row in lines} == {200, 400} and {row["split"] for row in lines} == {"train"}
    for file in files:
        read = load_columns(file, ["context", "messages"])
        examples = InstructionExamples(read, uniform.processor)
        assert len(examples) == 80
        assert examples.lengths[:, 0].tolist() == [row["tokens"] for row in lines]
        for example, row in zip(examples.examples, lines, strict=True):
            assert uniform.processor.decode(example.context.tolist()) == row["context"]
            assert example.prompt == row["messages"][0]["content"]
            assert uniform.processor.decode(example.target[:-1].tolist()) == ", ".join(row["answers"])


def test_a_seed_and_a_split_say_which_rows(make, tmp_path):
    options = {"a": [], "b": [], "c": ["--seed", "1"], "d": ["--split", "test"], "e": ["--depths", "0", "1"]}
    for name, more in options.items():
        code, *_ = make("-o", tmp_path / f"{name}.jsonl", "--number", "24", *TASKS, *more)
        assert code == 0
    content = {name: (tmp_path / f"{name}.jsonl").read_bytes() for name in options}
    assert content["a"] == content["b"] and len(set(content.values())) == 4
    rows = [json.loads(line) for line in content["e"].splitlines()]
    assert {row["depth"] for row in rows if row["task"] == "single-words-noise"} == {0.0, 1.0}


def test_what_there_is_no_room_for_is_left_out(make, tmp_path):
    options = "--number", "6", "--tasks", "single-uuids", "single-numbers-noise", "--lengths", "70", "400"
    code, out, err = make("-o", tmp_path / "a.jsonl", *options)
    left_out = "at 70 tokens single-uuids-noise, single-uuids-prose (there is no room for the needles)"
    assert (code, err) == (0, f"c3: left out: {left_out}\n") and "6 rows (single 6)" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: -o/--output"),
        (["-o", "a.csv"], "a.csv must end in .jsonl or .parquet"),
        (["-o", "no/a.jsonl"], "cannot write no/a.jsonl: there is no folder no"),
        (["-o", "corpus.jsonl"], "corpus.jsonl would overwrite the input"),
        (["-o", "a.jsonl", "--tasks", "riddles"], "there is no task riddles: name some of single, many_keys, "),
        (
            ["-o", "a.jsonl", "--lengths", "15"],
            "argument --lengths: must be a whole number from 16 to 1000000, not '15'",
        ),
        (["-o", "a.jsonl", "--lengths", "1e3"], "argument --lengths: must be a whole number from 16"),
        (["-o", "a.jsonl", "--depths", "1.5"], "argument --depths: must be a number from 0 (start of the text) to 1"),
        (["-o", "a.jsonl", "--number", "0"], "argument --number: must be a whole number from 1 to 100000000"),
        (["-o", "a.jsonl", "--seed", "-1"], "argument --seed: "),
        (["-o", "a.jsonl", "--split", "dev"], "argument --split: invalid choice: 'dev'"),
        (
            ["-o", "a.jsonl", "--count-with", "no/tokenizer/here"],
            "cannot load a tokenizer: there is no folder no/tokenizer",
        ),
        (["-o", "a.jsonl", "--tasks", "single-uuids", "--lengths", "40"], "--tasks single-uuids: there is no room for"),
        (["-o", "a.jsonl", "--tasks", "single", "--lengths", "16", "400"], "--lengths 16: there is no room for"),
    ],
)
def test_mistakes_are_one_line(argv, message, make, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, err = make(*argv)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert sorted(tmp_path.iterdir()) == before


DISK_FULL = OSError, 28, "No space left on device"


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize(("error", "code"), [((KeyboardInterrupt,), 130), (DISK_FULL, 2)])
def test_a_run_that_ends_early_leaves_no_file(name, error, code, make, tmp_path, monkeypatch):
    (tmp_path / name).write_text("what was there")
    make_rows = question_rows.make_rows

    def interrupted(*args):
        for number, row in enumerate(make_rows(*args)):
            if number == 3:
                raise error[0](*error[1:])
            yield row

    monkeypatch.setattr(question_rows, "make_rows", interrupted)
    before = sorted(tmp_path.iterdir())
    found, out, err = make("-o", name, "--number", "10", *TASKS)
    assert (found, out) == (code, "") and (code == 130 or err == f"c3: error: {name}: No space left on device\n")
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / name).read_text() == "what was there"
