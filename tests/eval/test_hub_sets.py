"""Sets of the Hub, from files laid out as theirs, and files of rows. Run: pytest tests/eval/test_hub_sets.py"""

import json
import re
import zipfile

import pytest

from c3.eval.questions.asked import question_of_row, read_questions
from c3.eval.questions.hub_sets import HUB_SETS, load_hub_set
from eval_files import load, main, write_lines

TEXT = "It was the best of times, it was the worst of times. Mary has the red key. It was the age of wisdom. " * 3
CARD = "---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {split}\n    path: {path}\n---\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write_parquet(folder, name, rows, path):
    import pyarrow
    import pyarrow.parquet

    found = HUB_SETS[name]
    (folder / path).parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / path)
    card = CARD.format(config=found.config or "default", split=found.split, path=path)
    (folder / "README.md").write_text(card, encoding="utf-8")


# A row of each set, laid out as on the Hub, and its question and answers.
ROWS = {
    "squad": (
        {"id": "1", "title": "t", "context": TEXT, "question": "Who has it?"}
        | {"answers": {"text": ["Mary", "Mary"], "answer_start": [53, 53]}},
        "Who has it?",
        ("Mary", "Mary"),
    ),
    "quality": (
        {"article": TEXT, "question": "Who?", "options": ["John", "Mary", "Eve", "Sue"], "answer": 1, "hard": False},
        "Who?\nA. John\nB. Mary\nC. Eve\nD. Sue\nWhich of these is right? Answer with its letter.",
        ("B",),
    ),
    "loogle-shortdep": (
        {"context": TEXT, "question": "Which key?", "answer": "the red one", "evidence": "…", "title": "t"},
        "Which key?",
        ("the red one",),
    ),
    "babilong-1k-qa1": ({"input": TEXT, "question": "Where is Mary?", "target": "here"}, "Where is Mary?", ("here",)),
    "longbench-hotpotqa": (
        {"input": "Who has it?", "context": TEXT, "answers": ["Mary"], "length": 50, "dataset": "hotpotqa"},
        "Who has it?",
        ("Mary",),
    ),
}


@pytest.fixture
def folder(tmp_path):
    """`folder(name)`: with two rows of a set, the second of them without an answer in SQuAD's way of saying so."""

    def write(name):
        row, _, _ = ROWS[name]
        path = tmp_path / name
        if HUB_SETS[name].archive:
            path.mkdir()
            with zipfile.ZipFile(path / "data.zip", "w") as archive:
                archive.writestr(HUB_SETS[name].member, json.dumps(row) + "\n")
                archive.writestr("data/another.jsonl", '{"nothing": 1}\n')
        else:
            rows = [row, row | {"answers": {"text": [], "answer_start": []}}] if name == "squad" else [row]
            write_parquet(path, name, rows, f"data/{HUB_SETS[name].split}-00000-of-00001.parquet")
        return path

    return write


@pytest.mark.parametrize("name", ROWS)
def test_a_set_is_read(name, folder):
    (question,) = load_hub_set(f"{name}={folder(name)}")
    _, prompt, answers = ROWS[name]
    assert (question.context, question.prompt, question.answers) == (TEXT, prompt, answers)
    assert (question.task, question.any_of, question.length, question.depth) == (name, True, None, None)


def test_an_archive_that_was_replaced_is_read_anew(folder):
    path = folder("longbench-hotpotqa")
    load_hub_set(f"longbench-hotpotqa={path}")
    row = ROWS["longbench-hotpotqa"][0] | {"answers": ["Eve"]}
    with zipfile.ZipFile(path / "data.zip", "w") as archive:
        archive.writestr("data/hotpotqa.jsonl", json.dumps(row) + "\n")
    assert load_hub_set(f"longbench-hotpotqa={path}")[0].answers == ("Eve",)


def test_every_kind_of_set_has_a_row_here():
    assert {each.read for each in HUB_SETS.values()} == {HUB_SETS[name].read for name in ROWS}
    assert len(HUB_SETS) > len(ROWS)


def test_a_set_is_asked(folder, checkpoint, tmp_path, capsys):
    argv = ["ask", "--model", str(checkpoint), "--dataset", f"squad={folder('squad')}", "--ratios", "2"]
    main([*argv, "--device", "cpu", "--baselines", "head", "raw-text", "--output", str(tmp_path / "out")])
    result = load(tmp_path / "out" / "ask.json")
    assert result["data"][0]["name"] == "squad" and len(result["examples"]) == 3
    assert "pages: squad;" in capsys.readouterr().out
    assert not (tmp_path / "out" / "ask_depths.png").exists()


def test_what_cannot_be_read_is_said(folder, tmp_path):
    for name, message in (
        ("riddles", "there is no set riddles: name one of squad, quality, longbench-narrativeqa, "),
        ("squad=none", "squad: no such folder: none"),
        (f"babilong-1k-qa1={folder('squad')}", "cannot read the set babilong-1k-qa1 from "),
    ):
        with pytest.raises((OSError, ValueError), match=re.escape(message)) as error:
            load_hub_set(name)
        assert "\n" not in str(error.value)
    row, _, _ = ROWS["quality"]
    write_parquet(tmp_path / "empty", "quality", [row | {"article": ""}], "data/empty.parquet")
    for limit, said in ((None, "answer$"), (5, "answer in its first 5 rows")):
        with pytest.raises(ValueError, match=f"holds no question with a text and an {said}"):
            load_hub_set(f"quality={tmp_path / 'empty'}", limit)


def test_rows_of_questions(tmp_path):
    """As they are written, and as conversations of several turns, of which the first is asked."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    turns += [{"role": "assistant", "content": "Mary"}, {"role": "user", "content": "Why?"}]
    question = question_of_row({"context": TEXT, "messages": turns})
    assert (question.prompt, question.answers, question.task) == ("Be brief.\n\nWho?", ("Mary",), "questions")
    assert question_of_row({"context": TEXT, "messages": turns, "answers": ["Mary", "Eve"]}).answers == ("Mary", "Eve")
    path = tmp_path / "a.jsonl"
    for rows, message in (
        ([{"context": TEXT, "messages": turns}, {"text": TEXT}], "row 2 is no question: it has no context, or no mess"),
        ([["a list"]], "row 1 is no question: it has"),
        ([{"context": TEXT, "messages": turns[2:]}], "row 1 is no question"),
        ([], "holds no questions"),
    ):
        with pytest.raises(ValueError, match=message):
            read_questions(write_lines(path, rows))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not a .jsonl file of questions"):
        read_questions(path)
