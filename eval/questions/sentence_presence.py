"""Is a sentence in the text or not? One that is not comes from another document of the corpus."""

from dataclasses import dataclass

from .asked_sentences import Passage
from .question import Question, Unmakeable, phrased

PROMPTS = {
    "en": (
        "Is this sentence in the text, yes or no?\n{sentence}",
        "Does the text contain this sentence? Answer yes or no.\n{sentence}",
    ),
    "zh": ("文中有下面这句话吗？请回答有或没有。\n{sentence}", "下面这句话在文中出现过吗？请回答有或没有。\n{sentence}"),
}
ANSWERS = {"en": {True: "yes", False: "no"}, "zh": {True: "有", False: "没有"}}


@dataclass(frozen=True)
class SentencePresence:
    """A task, see `question.py`, with the same answer, `is_there`, to all; as many of either make it balanced."""

    is_there: bool

    def __call__(self, rng, material, length, depth):
        passage = Passage(rng, material, length)
        place = passage.nearest(depth, passage.can_ask) if self.is_there else None
        asked = passage.sentences[place] if self.is_there else material.sentence_from_elsewhere(rng, passage.sentences)
        if not self.is_there and asked.text in passage.text:
            raise Unmakeable("a sentence of another document is in the text too")
        return Question(
            context=passage.text,
            prompt=phrased(rng, material, PROMPTS[passage.language]).format(sentence=asked.text),
            answers=(ANSWERS[passage.language][self.is_there],),
            depth=passage.depths[place] if self.is_there else None,
            language=passage.language,
        )


PRESENCE_TASKS = {"presence-yes": SentencePresence(True), "presence-no": SentencePresence(False)}
