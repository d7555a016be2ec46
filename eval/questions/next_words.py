"""The words that follow a few others of a sentence: what a quotation goes on with, over the corpus's own prose."""

from .asked_sentences import Passage
from .question import Question, Unmakeable, phrased

PROMPTS = {
    "en": (
        'Which {count} words come right after "{quote}"?',
        'What are the next {count} words of the text after "{quote}"?',
        'Give the {count} words that follow "{quote}" in the text.',
    ),
    "zh": ("文中“{quote}”之后紧接着的{count}个字是什么？", "请给出文中“{quote}”后面的{count}个字。"),
}
# Words, or Chinese characters, that are quoted and asked for.
QUOTED = {"en": 4, "zh": 8}
ASKED = {"en": 2, "zh": 3}
# Quotations drawn from a sentence until one stands in the text once.
DRAWS = 8


def make(rng, material, length, depth):
    """A task, see `question.py`."""
    passage = Passage(rng, material, length)
    language = passage.language
    quoted, asked = QUOTED[language], ASKED[language]
    between = "" if language == "zh" else " "

    def words(place):
        text = passage.sentences[place].text
        return list(text) if language == "zh" else text.split(" ")

    def is_long(place):
        return len(words(place)) >= quoted + asked

    def ask(place):
        in_sentence = words(place)
        for _ in range(DRAWS):
            start = rng.randint(0, len(in_sentence) - quoted - asked)
            quote = between.join(in_sentence[start : start + quoted])
            if passage.text.count(quote) == 1 and '"' not in quote:
                break
        else:
            raise Unmakeable("a sentence says nothing that the text says once")
        follows = between.join(in_sentence[start + quoted : start + quoted + asked])
        return Question(
            context=passage.text,
            prompt=phrased(rng, material, PROMPTS[language]).format(quote=quote, count=asked),
            answers=(follows,),
            depth=passage.depths[place],
            language=language,
            further=others(place),
        )

    def others(place):
        for other in passage.others(rng, place, is_long):
            try:
                yield ask(other)
            except Unmakeable:
                continue

    return ask(passage.nearest(depth, is_long))
