"""Several questions about one text, as training wants them. Run: pytest tests/eval/test_further_questions.py"""

import re
from itertools import islice

import pytest

from c3.eval.questions.material import Material
from c3.eval.questions.needles import NEEDLE
from c3.eval.questions.rows import make_rows, wanted_rows
from c3.eval.questions.tasks import family, find_tasks
from question_corpus import asked_sentence, make_corpus

QUESTIONS = 5
TASKS = (
    "many_keys-words many_queries-numbers many_values-words variable_tracking next_sentence previous_sentence "
    "next_words numbered_sentence sentence_order presence common_words"
).split()


@pytest.fixture(scope="module")
def rows(tokenizer):
    """The same rows with one question each and with several."""
    material = Material(make_corpus(), tokenizer, "train")
    wanted = list(islice(wanted_rows(find_tasks(TASKS), [300, 600]), 200))
    return [list(make_rows(material, wanted, questions=questions)) for questions in (1, QUESTIONS)]


def pairs(rows, *names):
    """Row, question and answer of all questions but the first of these families; there are some of each."""
    found = []
    for row in rows[1]:
        if family(row["task"]) in names:
            said = [message["content"] for message in row["messages"]]
            found += [(row, *pair) for pair in zip(said[2::2], said[3::2], strict=True)]
    assert {family(row["task"]) for row, *_ in found} == set(names)
    return found


def test_the_first_question_is_that_of_a_row_with_one(rows):
    for one, several in zip(*rows, strict=True):
        assert one == several | {"messages": several["messages"][:2]}
        roles = [message["role"] for message in several["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        # Phrasings differ: what is asked about may not be the same twice.
        asked = [
            re.findall(r"[a-z]+-[a-z]+|\d{5}|\n.*|[\"“].+[\"”]", each["content"]) for each in several["messages"][::2]
        ]
        if family(one["task"]) == "presence":
            asked = [[asked_sentence(each["content"])] for each in several["messages"][::2]]
        if family(one["task"]) not in ("numbered_sentence", "many_queries"):
            assert len(set(map(tuple, asked))) == len(asked) <= QUESTIONS
    assert max(len(row["messages"]) for row in rows[1]) == 2 * QUESTIONS
    # These are about the whole text, or there is nothing else to ask.
    for row in rows[1]:
        if family(row["task"]) in ("many_values", "common_words"):
            assert len(row["messages"]) == 2


def test_needles_and_variables(rows):
    for row, prompt, answer in pairs(rows, "many_keys", "many_queries"):
        kind = "number" if "numbers" in row["task"] else "word"
        pattern = NEEDLE.replace(".", r"\.").format(kind=kind, key="([a-z-]+)", value="([a-z0-9-]+)")
        values = dict(re.findall(pattern, row["context"]))
        keys = sorted((key for key in values if key in prompt), key=prompt.index)
        assert answer == ", ".join(values[key] for key in keys)
        assert len(keys) == 1 or family(row["task"]) == "many_queries"
    for row, prompt, answer in pairs(rows, "variable_tracking"):
        values = {}
        for name, source in re.findall(r"VAR ([A-Z]{5}) = (?:VAR )?(\w+)\.", row["context"]):
            values[name] = values.get(source, source)
        wanted = re.search(r"\d{5}", prompt)[0]
        assert answer == ", ".join(name for name, value in values.items() if value == wanted) != ""


def test_nothing_that_was_said_before_gives_an_answer_away(rows):
    """Neither a question before, which could be copied from, nor its answer."""
    values = "many_keys", "many_queries", "variable_tracking"
    for row, prompt, answer in pairs(
        rows, *values, "numbered_sentence", "next_sentence", "previous_sentence", "sentence_order", "presence"
    ):
        said = [message["content"] for message in row["messages"]]
        before = said[: said.index(prompt)]
        # Of two sentences those of which nothing was asked: another pair may tell which comes first.
        about = re.findall(r"\n(?:[AB][:：])? ?(.+)", prompt) if len(answer) < 4 else [answer]
        named = answer.split(", ") if family(row["task"]) in values else about
        named = [asked_sentence(prompt)] if family(row["task"]) == "presence" else named
        assert named and not any(each in earlier for each in named for earlier in before)


def test_sentences(rows, tokenizer):
    for row, prompt, answer in pairs(rows, "next_sentence", "previous_sentence"):
        given = prompt.split("\n")[1]
        pair = (given, answer) if family(row["task"]) == "next_sentence" else (answer, given)
        assert re.search(r"\s*".join(map(re.escape, pair)), row["context"])
    for row, prompt, answer in pairs(rows, "next_words"):
        quote = re.search('["“](.+)["”]', prompt)[1]
        assert len(re.findall(re.escape(quote) + " ?" + re.escape(answer), row["context"])) == 1
    for row, prompt, answer in pairs(rows, "sentence_order"):
        named = dict(re.findall(r"^(A|B)[:：] ?(.+)$", prompt, re.MULTILINE))
        assert answer == min(named, key=lambda name: row["context"].index(named[name]))
    answers = set()
    for row, prompt, answer in pairs(rows, "presence"):
        assert (asked_sentence(prompt) in row["context"]) == (answer in ("yes", "有"))
        answers.add((row["task"], answer))
    # Neither answer can be told from the one before.
    assert {("presence-yes", "no"), ("presence-yes", "yes"), ("presence-no", "yes"), ("presence-no", "no")} <= answers
    # Of few sentences elsewhere none is asked about twice.
    few = Material(make_corpus(6), tokenizer, "train")
    for row in make_rows(few, islice(wanted_rows(find_tasks(["presence"]), [600]), 10), questions=30):
        asked = [asked_sentence(each["content"]) for each in row["messages"][::2]]
        assert len(asked) > QUESTIONS and len(set(asked)) == len(asked)
    for row, _, answer in pairs(rows, "numbered_sentence"):
        assert row["context"].count(answer) == 1
