"""The sentence that follows a given one, or precedes it: as next-sentence retrieval, over the corpus's own prose."""

from dataclasses import dataclass

from .asked_sentences import Passage
from .question import Question, phrased

FOLLOWS = {
    "en": (
        "Which sentence comes right after this one?\n{sentence}",
        "What does the text say right after this sentence?\n{sentence}",
        "Give the sentence that follows this one in the text:\n{sentence}",
    ),
    "zh": ("紧接在下面这句话之后的是哪一句？\n{sentence}", "文中这句话的下一句是什么？\n{sentence}"),
}
PRECEDES = {
    "en": (
        "Which sentence comes right before this one?\n{sentence}",
        "What does the text say right before this sentence?\n{sentence}",
        "Give the sentence that precedes this one in the text:\n{sentence}",
    ),
    "zh": ("紧接在下面这句话之前的是哪一句？\n{sentence}", "文中这句话的上一句是什么？\n{sentence}"),
}


@dataclass(frozen=True)
class NeighbouringSentence:
    """
    A task, see `question.py`.

    Args:
        prompts (`dict[str, tuple[str, ...]]`): by language.
        step (`int`): from the sentence that is given to the one that is asked for: 1 or -1.
    """

    prompts: dict
    step: int

    def __call__(self, rng, material, length, depth):
        passage = Passage(rng, material, length, least=2)
        last = len(passage.sentences) - 1

        def allowed(place):
            given = place - self.step
            return 0 <= given <= last and passage.can_ask(place) and passage.can_ask(given)

        # What a question before has quoted could be copied from there.
        quoted = set()

        def allowed_after(place):
            return allowed(place) and place not in quoted

        def ask(place):
            quoted.add(place - self.step)
            prompts = phrased(rng, material, self.prompts[passage.language])
            return Question(
                context=passage.text,
                prompt=prompts.format(sentence=passage.sentences[place - self.step].text),
                answers=(passage.sentences[place].text,),
                depth=passage.depths[place],
                language=passage.language,
                further=map(ask, passage.others(rng, place, allowed_after)),
            )

        return ask(passage.nearest(depth, allowed))
