"""Is a sentence in the text or not? One that is not comes from another document of the corpus."""

from dataclasses import dataclass

from .asked_sentences import Passage
from .question import Question, Unmakeable, phrased

PROMPTS = {
    "en": (
        "Is this sentence in the text, yes or no?\n{sentence}",
        "Does the text contain this sentence? Answer yes or no.\n{sentence}",
        "Is this sentence in the text, yes or no? {sentence}",
        'Does the text say "{sentence}"?',
        'Is "{sentence}" in the text?',
        "{sentence}\nIs that in the text?",
        "Yes or no: the text has the sentence {sentence}",
    ),
    "zh": (
        "文中有下面这句话吗？请回答有或没有。\n{sentence}",
        "下面这句话在文中出现过吗？请回答有或没有。\n{sentence}",
    ),
}
ANSWERS = {"en": {True: "yes", False: "no"}, "zh": {True: "有", False: "没有"}}


@dataclass(frozen=True)
class SentencePresence:
    """A task, see `question.py`, with the same answer, `is_there`, to all; as many of either make it balanced."""

    is_there: bool

    def __call__(self, rng, material, length, depth):
        passage = Passage(rng, material, length)
        # For either answer, so that neither can be had where the other cannot.
        foreign, place = material.sentence_from_elsewhere(rng, passage.sentences), None
        if self.is_there:
            place = passage.nearest(depth, passage.can_ask)
        return _ask(rng, material, passage, place, foreign)


def _ask(rng, material, passage, place, foreign):
    """The [`Question`] about the sentence at a place, or None, about one that is foreign."""
    is_there = place is not None
    if not is_there and foreign.text in passage.text:
        raise Unmakeable("a sentence of another document is in the text too")
    asked = passage.sentences[place] if is_there else foreign
    return Question(
        context=passage.text,
        prompt=phrased(rng, material, PROMPTS[passage.language]).format(sentence=asked.text),
        answers=(ANSWERS[passage.language][is_there],),
        depth=passage.depths[place] if is_there else None,
        language=passage.language,
        further=_others(rng, material, passage, place, asked.text),
    )


def _others(rng, material, passage, place, first):
    """
    Yields more such [`Question`]s, with either answer and about another sentence: those before give nothing away.
    """
    asked = {first}
    for other in passage.others(rng, place, passage.can_ask):
        try:
            foreign = material.sentence_from_elsewhere(rng, passage.sentences)
            is_there = rng.random() < 0.5
            # The answer to the same question stands there already.
            if is_there or foreign.text not in asked:
                yield _ask(rng, material, passage, other if is_there else None, foreign)
            if not is_there:
                asked.add(foreign.text)
        except Unmakeable:
            continue


PRESENCE_TASKS = {"presence-yes": SentencePresence(True), "presence-no": SentencePresence(False)}
