"""Which sentences of a passage can be asked about, and which of these is nearest to a depth."""

from .haystacks import depths_of, joined
from .question import Unmakeable
from .sentences import can_be_asked_about


class Passage:
    """
    Sentences of the corpus that follow one another, drawn as `material.passage` draws them.

    Attributes:
        sentences (`list[Sentence]`), text (`str`), language (`str`), depths (`list[float]`): of each sentence.
    """

    def __init__(self, rng, material, length, least=1):
        self.sentences = material.passage(rng, length, least)
        self.language = material.language_of(self.sentences)
        self.text, self.depths = joined(self.sentences), depths_of(self.sentences)

    def can_ask(self, place):
        """Whether the sentence at a place is short, and the text says it once."""
        sentence = self.sentences[place]
        return can_be_asked_about(sentence, self.language) and self.text.count(sentence.text) == 1

    def nearest(self, depth, allowed):
        """
        The place nearest to a depth of those for which `allowed(place)`.

        Raises:
            Unmakeable: there is none.
        """
        for place in sorted(range(len(self.sentences)), key=lambda place: abs(self.depths[place] - depth)):
            if allowed(place):
                return place
        raise Unmakeable("a passage has no sentence that can be asked about")

    def others(self, rng, place, allowed):
        """Yields places for which `allowed(place)`, each once and not `place`, in random order."""
        places = [other for other in range(len(self.sentences)) if other != place]
        rng.shuffle(places)
        yield from filter(allowed, places)
