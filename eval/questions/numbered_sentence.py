"""The k-th sentence of a text, counted from its start or from its end."""

from .asked_sentences import Passage
from .question import Question, phrased

ORDINALS = {
    "en": "first second third fourth fifth sixth seventh eighth ninth tenth".split(),
    "zh": list("一二三四五六七八九十"),
}
FROM_START = {
    "en": ("What is the {ordinal} sentence of the text?", "Give the {ordinal} sentence of the text."),
    "zh": ("这段文字的第{ordinal}句是什么？", "请给出文中的第{ordinal}句。"),
}
FROM_END = {
    "en": (
        "What is the {ordinal} sentence of the text, counted from its end?",
        "Counted from the end, give the {ordinal} sentence of the text.",
    ),
    "zh": ("这段文字的倒数第{ordinal}句是什么？", "请给出文中的倒数第{ordinal}句。"),
}


def make(rng, material, length, depth):
    """A task, see `question.py`: of the first and the last ten sentences the one nearest to `depth`."""
    passage = Passage(rng, material, length, least=2)
    count = len(passage.sentences)
    most = len(ORDINALS[passage.language])

    def allowed(place):
        return min(place, count - 1 - place) < most and passage.can_ask(place)

    def ask(place):
        prompts, number = (FROM_START, place) if place <= count - 1 - place else (FROM_END, count - 1 - place)
        ordinal = ORDINALS[passage.language][number]
        return Question(
            context=passage.text,
            prompt=phrased(rng, material, prompts[passage.language]).format(ordinal=ordinal),
            answers=(passage.sentences[place].text,),
            depth=passage.depths[place],
            language=passage.language,
            further=map(ask, passage.others(rng, place, allowed)),
        )

    return ask(passage.nearest(depth, allowed))
