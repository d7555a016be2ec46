"""Which of two sentences of a text comes first?"""

from .asked_sentences import Passage
from .question import Question, Unmakeable, phrased

PROMPTS = {
    "en": (
        "Which of these two sentences comes first in the text, A or B?\nA: {a}\nB: {b}",
        "A or B: which sentence stands earlier in the text?\nA: {a}\nB: {b}",
    ),
    "zh": ("下面两句话，哪一句在文中先出现，A还是B？\nA：{a}\nB：{b}", "A和B，哪一句在文中更靠前？\nA：{a}\nB：{b}"),
}


def make(rng, material, length, depth):
    """A task, see `question.py`: the first of the two is the one nearest to `depth` that has one after it."""
    passage = Passage(rng, material, length, least=2)
    can_ask = [place for place in range(len(passage.sentences)) if passage.can_ask(place)]
    if len(can_ask) < 2:
        raise Unmakeable("a passage has no two sentences that can be asked about")

    # Of two sentences of questions before, the answers to these may tell which comes first.
    asked = set()

    def later(first):
        return [place for place in can_ask if place > first and place not in asked]

    def allowed(place):
        return place in can_ask and place not in asked and later(place)

    def ask(first):
        second = rng.choice(later(first))
        asked.update((first, second))
        answer = rng.choice("AB")
        named = {answer: first, "AB".replace(answer, ""): second}
        return Question(
            context=passage.text,
            prompt=phrased(rng, material, PROMPTS[passage.language]).format(
                a=passage.sentences[named["A"]].text, b=passage.sentences[named["B"]].text
            ),
            answers=(answer,),
            language=passage.language,
            further=map(ask, passage.others(rng, first, allowed)),
        )

    return ask(passage.nearest(depth, allowed))
