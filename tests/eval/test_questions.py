"""Questions about texts: the answers are right, and the only ones. Run: pytest tests/eval/test_questions.py"""

import re
from collections import Counter
from itertools import chain, islice

import pytest

from c3.eval.page_data import plain_ids
from c3.eval.questions.fact_wordings import NOUNS as PROPERTIES
from c3.eval.questions.fact_wordings import QUESTIONS, RELATIONS, SENTENCES
from c3.eval.questions.haystacks import check_said_once
from c3.eval.questions.material import Material
from c3.eval.questions.needles import NEEDLE
from c3.eval.questions.numbered_sentence import ORDINALS
from c3.eval.questions.question import Unmakeable
from c3.eval.questions.rows import Wanted, find_impossible, make_rows, wanted_rows
from c3.eval.questions.sentences import split_sentences
from c3.eval.questions.splits import SPLITS, in_split
from c3.eval.questions.tasks import FAMILIES, TASKS, family, find_tasks
from c3.eval.questions.word_lists import ADJECTIVES, NOUNS, WORDS
from question_corpus import asked_sentence, make_corpus, matcher

LENGTHS = 300, 1000
# Of a full turn of all tasks at both lengths.
TURN = 18 * len(FAMILIES)


@pytest.fixture(scope="module")
def materials(tokenizer):
    corpus = make_corpus()
    return {split: Material(corpus, tokenizer, split) for split in SPLITS}


@pytest.fixture(scope="module")
def impossible(materials):
    return find_impossible(materials["train"], TASKS, LENGTHS)


@pytest.fixture(scope="module")
def rows(materials, impossible):
    """Some rows of every task that is possible at each length, in either split, and what they were to be."""
    wanted = list(islice(wanted_rows(TASKS, LENGTHS, impossible), 2 * TURN))
    return {split: list(zip(wanted, make_rows(material, wanted), strict=True)) for split, material in materials.items()}


def of_families(rows, *names):
    found = [row for split in SPLITS for _, row in rows[split] if family(row["task"]) in names]
    assert {family(row["task"]) for row in found} == set(names)
    return found


def asked(row):
    return row["messages"][0]["content"]


def test_every_task_has_rows_of_every_length(rows, impossible):
    made = Counter((row["task"], row["length"]) for _, row in rows["train"])
    assert set(made) == {(task, length) for task in TASKS for length in LENGTHS} and not impossible
    assert Counter(family(task) for task, _ in made.elements()) == dict.fromkeys(FAMILIES, 2 * TURN // len(FAMILIES))
    assert made["presence-yes", 300] == made["presence-no", 300] > 1


def test_texts_have_as_many_tokens_as_asked_for(rows, tokenizer):
    for split in SPLITS:
        for wanted, row in rows[split]:
            assert row["tokens"] <= row["length"] == wanted.length
            # There is no room for one needle more: a UUID has 100 tokens.
            least = 0.65 if "needles" in wanted.task or wanted.length == 300 else 0.9
            assert row["tokens"] > least * wanted.length, row
            assert (row["split"], row["seed"], row["index"]) == (split, 0, wanted.index)
            assert row["messages"][1] == {"role": "assistant", "content": ", ".join(row["answers"])}
        counted = plain_ids(tokenizer, [row["context"] for _, row in rows[split][:TURN]])
        assert [len(ids) for ids in counted] == [row["tokens"] for _, row in rows[split][:TURN]]


def test_texts_that_came_out_too_long_are_made_again(tokenizer, monkeypatch):
    """Where the pieces of a text have fewer tokens than the text."""
    material, count = Material(make_corpus(), tokenizer, "train"), Material.count
    pieces = [" ", "\n"]  # what the pieces of a text begin with, but no whole text

    def too_few(texts):
        return [
            tokens - tokens // 8 * text.startswith(tuple(pieces))
            for text, tokens in zip(texts, count(material, texts), strict=True)
        ]

    monkeypatch.setattr(material, "count", too_few)
    wanted = list(islice(wanted_rows(find_tasks(["single", "next_sentence", "common_words"]), [1000]), 24))
    for row in make_rows(material, wanted):
        assert 700 < row["tokens"] <= 1000


def needles_of(row):
    """Keys and values of a row's text, in order, as pairs."""
    kind = {"words": "word", "numbers": "number", "uuids": "UUID"}[row["task"].split("-")[1]]
    pattern = NEEDLE.replace(".", r"\.").format(kind=kind, key="([a-z-]+)", value="([a-z0-9-]+)")
    return re.findall(pattern, row["context"])


def test_needles_are_there_once(rows):
    found = of_families(rows, "single", "many_keys", "many_values", "many_queries")
    for row in found:
        needles = needles_of(row)
        keys = sorted({key for key, _ in needles if key in asked(row)}, key=asked(row).index)
        assert row["answers"] == [value for key in keys for each, value in needles if each == key]
        assert len({value for _, value in needles}) == len(needles)
        assert all(row["context"].count(value) == 1 for value in row["answers"])
        name = family(row["task"])
        assert len(keys) == 1 or name == "many_queries"
        assert (len(row["answers"]) == 1) == (name in ("single", "many_keys")) == (row["depth"] is not None)
        assert len(needles) > len(row["answers"]) or name != "many_keys"
        if row["length"] == 1000:
            assert len(row["answers"]) == 4 or name in ("single", "many_keys")
    assert {len(row["answers"]) for row in found} >= {1, 2, 4}


def test_a_fact_is_what_is_said_of_its_name(rows):
    """A name may be in several facts; tests have other properties, relations and wordings than training."""
    said = {split: set() for split in SPLITS}
    for row in of_families(rows, "facts"):
        split, (answer,) = row["split"], row["answers"]
        nouns = "|".join(noun for noun in PROPERTIES[::-1] if in_split(split, noun))  # `order number` before `order`
        ways = [(SENTENCES[split], question) for question in QUESTIONS[split]]
        ways += [(sentences, question) for sentences, asked in RELATIONS[split].items() for question in asked]
        found = []
        for sentences, question in ways:
            if about := matcher(question, noun=f"(?P<noun>{nouns})", name="(?P<name>.+)").fullmatch(asked(row)):
                parts = {name: re.escape(part) for name, part in about.groupdict().items()}
                value = rf"(?P<value>{re.escape(answer)}|[\w-]+([.,: ][\w-]+)*?)"
                forms = [matcher(sentence, **parts, value=value) for sentence in sentences]
                found += [(sentence, form) for sentence, form in zip(sentences, forms, strict=True)]
        values = [(sentence, fact["value"]) for sentence, form in found for fact in form.finditer(row["context"])]
        said[split].update(sentence for sentence, value in values)
        # A number may end at its point, for a sentence that is like the beginning of another.
        assert any(value == answer for _, value in values) and all(answer.startswith(value) for _, value in values)
        assert row["depth"] is not None
    assert min(map(len, said.values())) > 6
    for train, test in ((SENTENCES["train"], SENTENCES["test"]), (QUESTIONS["train"], QUESTIONS["test"])):
        assert not set(train) & set(test)
    related = [set(chain(*RELATIONS[split], *RELATIONS[split].values())) for split in SPLITS]
    assert not set.intersection(*related)


def test_variables_get_their_value_in_order(rows):
    for row in of_families(rows, "variable_tracking"):
        values = {}
        for name, source in re.findall(r"VAR ([A-Z]{5}) = (?:VAR )?(\w+)\.", row["context"]):
            assert name not in values
            values[name] = values.get(source, source)  # a source that comes later would be no number
        assert all(value.isdigit() for value in values.values()) and len(set(values.values())) <= 2
        asked_for = re.search(r"\d{5}", asked(row))[0]
        assert row["answers"] == [name for name, value in values.items() if value == asked_for]
        assert len(row["answers"]) == 5 and len(values) == (10 if row["length"] == 1000 else len(values))


@pytest.mark.parametrize(("name", "pattern"), [("common_words", r"(\d+)\. (\S+)"), ("frequent_words", r"()([a-z]{6})")])
def test_the_words_that_come_most_often_are_asked_for(name, pattern, rows):
    for row in of_families(rows, name):
        found = re.findall(pattern, row["context"])
        assert [int(number) for number, _ in found if number] in ([], list(range(1, len(found) + 1)))
        counts = Counter(word for _, word in found).most_common()
        most = counts[: len(row["answers"])]
        assert {word for word, _ in most} == set(row["answers"]) and most[-1][1] > counts[len(most)][1]
        assert len(most) == 1 or str(len(most)) in asked(row)
        if name == "frequent_words":
            assert row["answers"] == [word for word, _ in most]


def test_sentences_stand_where_they_are_said_to(rows):
    for row in of_families(rows, "next_sentence", "previous_sentence"):
        given, answer, text = asked(row).split("\n")[1], row["answers"][0], row["context"]
        pair = (given, answer) if family(row["task"]) == "next_sentence" else (answer, given)
        assert len(re.findall(r"\s*".join(map(re.escape, pair)), text)) == 1
        assert text.count(given) == text.count(answer) == 1
    for row in of_families(rows, "numbered_sentence"):
        sentences = [sentence for sentence, _ in split_sentences(row["context"], row["language"])]
        ordinals = ORDINALS[row["language"]]
        pattern = "|".join(ordinals) if row["language"] == "en" else f"第([{''.join(ordinals)}])"
        number = ordinals.index(re.search(pattern, asked(row))[0].strip("第"))
        from_end = re.search("from (its|the) end|From the end|倒数", asked(row), re.IGNORECASE)
        assert row["answers"] == [sentences[::-1][number] if from_end else sentences[number]]
        assert row["context"].count(row["answers"][0]) == 1


def test_quotations_are_there_once_and_go_on_so(rows):
    for row in of_families(rows, "next_words"):
        quote = re.search('["“](.+)["”]', asked(row))[1]
        between = "" if row["language"] == "zh" else " "
        assert row["context"].count(quote) == row["context"].count(between.join([quote, row["answers"][0]])) == 1
        assert str(2 if between else 3) in asked(row)


def test_sentences_are_compared_and_looked_for(rows):
    answers = Counter()
    for row in of_families(rows, "sentence_order"):
        named = dict(re.findall(r"^(A|B)[:：] ?(.+)$", asked(row), re.MULTILINE))
        places = {name: row["context"].index(sentence) for name, sentence in named.items()}
        assert row["answers"] == [min(places, key=places.get)] and len(places) == 2
        answers[row["answers"][0]] += 1
    assert min(answers["A"], answers["B"]) > sum(answers.values()) / 4
    for row in of_families(rows, "presence"):
        is_there = asked_sentence(asked(row)) in row["context"]
        assert is_there == (row["task"] == "presence-yes") == (row["answers"][0] in ("yes", "有"))
        assert row["answers"][0].isascii() == (row["language"] == "en")


def test_an_absent_sentence_is_of_the_same_corpus(rows, materials):
    for _, row in rows["train"]:
        if row["task"] == "presence-no":
            assert sum(asked_sentence(asked(row)) in text for text in materials["train"].texts) == 1


def test_depths_are_those_asked_for_and_spread_evenly(rows):
    found = {}
    for split in SPLITS:
        for wanted, row in rows[split]:
            if (
                row["depth"] is not None
                and row["length"] == 1000
                and family(row["task"]) in ("single", "next_sentence")
            ):
                assert abs(row["depth"] - wanted.depth) < 0.15, row
                answer, text = row["answers"][0], row["context"]
                # By characters: about the same share.
                assert abs(text.index(answer) / (len(text) - len(answer)) - row["depth"]) < 0.2
                found.setdefault(row["task"], []).append(wanted.depth)
    for depths in found.values():
        assert min(depths) < 0.35 and max(depths) > 0.65
    many = sorted(each.depth for each in islice(wanted_rows(["single-words-noise"], [400]), 50))
    assert max(b - a for a, b in zip([0, *many], [*many, 1], strict=True)) < 0.05
    fixed = islice(wanted_rows(["single-words-noise", "common_words"], [400, 500], depths=[0.0, 1.0]), 16)
    assert Counter((each.task, each.length, each.depth) for each in fixed).most_common()[-1][1] == 2


def drawn_in(row):
    """The words, numbers, names and sentences that a row's text is made of, but for noise and prose around needles."""
    name, text = family(row["task"]), row["context"]
    if name == "variable_tracking":
        return re.findall(r"VAR ([A-Z]{5})|\b(\d{5})\b", text)
    if name in ("common_words", "frequent_words"):
        return re.findall(r"[a-z]+", text)
    if name == "facts":
        return row["answers"]
    if name in ("single", "many_keys", "many_values", "many_queries"):
        pairs = needles_of(row)
        in_words = [word for key, value in pairs for word in f"{key}-{value}".split("-")]
        return in_words if "-words-" in row["task"] else [value for _, value in pairs]
    return [sentence for sentence, _ in split_sentences(text, row["language"])]


def test_train_and_test_have_nothing_in_common(rows, materials):
    train, test = ({each for _, row in rows[split] for each in drawn_in(row)} for split in SPLITS)
    assert len(test) > 1000 and not train & test
    assert sorted(materials["train"].texts + materials["test"].texts) == sorted(make_corpus())
    of_split = [set(materials[split].words) for split in SPLITS]
    assert not set.intersection(*of_split) and set.union(*of_split) > set(WORDS)
    assert len(WORDS) == len(set(WORDS)) and min(len(words & set(WORDS)) for words in of_split) > len(WORDS) / 3


def test_the_first_phrasing_alone_is_for_tests(rows):
    def beginnings(split):
        return {asked(row)[:12] for _, row in rows[split] if row["task"] == "single-numbers-noise"}

    assert len(beginnings("test")) == 1 < len(beginnings("train"))


def test_a_seed_gives_the_same_rows(materials, rows, tokenizer):
    wanted = [each for each, _ in rows["train"]][:40]
    again = list(make_rows(Material(make_corpus(), tokenizer, "train"), wanted))
    assert again == [row for _, row in rows["train"]][:40]
    # Each by itself, whatever was made before.
    assert next(make_rows(materials["train"], wanted[30:])) == again[30]
    for other, row in zip(make_rows(materials["train"], wanted[:10], seed=1), again, strict=False):
        assert (other["seed"], other["task"]) == (1, row["task"]) and other["messages"] != row["messages"]


def test_no_pair_of_words_is_part_of_another():
    assert not [(a, b) for a in ADJECTIVES for b in ADJECTIVES if a != b and b.endswith(a)]
    assert not [(a, b) for a in NOUNS for b in NOUNS if a != b and b.startswith(a)]
    with pytest.raises(Unmakeable, match="by chance"):
        check_said_once("One of the numbers for a-b is: 7. Is it 7?", ["7"])


def test_what_cannot_be_made(materials, tokenizer):
    material = materials["train"]
    found = find_impossible(material, ["many_keys-uuids-noise", "next_sentence"], [20, 10**5])
    assert found["many_keys-uuids-noise", 20] == "there is no room for the needles"
    assert len(find_impossible(material, ["common_words", "frequent_words"], [20])) == 2
    assert "too few whole sentences" in found["next_sentence", 10**5] and len(found) == 3
    with pytest.raises(Unmakeable, match="^next_sentence in 20 tokens: the corpus has too few"):
        next(make_rows(material, [Wanted("next_sentence", 20, 0.5, 0)]))
    alone = Material(material.texts[:1], tokenizer, "train")
    assert set(find_impossible(alone, find_tasks(["presence"]), [400])) == {("presence-yes", 400), ("presence-no", 400)}
    with pytest.raises(ValueError, match="none of the 1 documents of the corpus is for the split test"):
        Material(material.texts[:1], tokenizer, "test")


def test_tasks_by_name():
    assert find_tasks(["single-uuids", "presence"]) == [
        "single-uuids-noise",
        "single-uuids-prose",
        "presence-yes",
        "presence-no",
    ]
    with pytest.raises(ValueError, match="there is no task sing: name some of single, many_keys, "):
        find_tasks(["single", "sing"])
