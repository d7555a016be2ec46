"""How right an answer is: every answer that is asked for is compared, whatever their order, case and punctuation."""

import re
import string
from collections import Counter

_SEPARATORS = re.compile(r"\s*[,;\n、，；]\s*(?:and\s+)?|\s+and\s+")
_AROUND = re.compile(r"^[\W_]+|[\W_]+$")
# Chinese has no spaces between words.
_CHINESE = "\u3400-\u9fff"
_LETTER = rf"[^\W{_CHINESE}]"
_WORDS = re.compile(rf"[{_CHINESE}]|[^\s{_CHINESE}\u3000-\u303f，！？；：（）]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised(text):
    """Lower case, single spaces, no punctuation around: `normalised(' "The  End." ')` is `the end`."""
    text = " ".join(text.casefold().split())
    return _AROUND.sub("", text) or text


def squad_normalised(text):
    """As the evaluation script of SQuAD does (Rajpurkar et al. 2016, arXiv 1606.05250): no articles or punctuation."""
    text = "".join(each for each in text.lower() if each not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(answers, said, any_of=False):
    """
    Whether all of the answers were given, in any order, and nothing else; or, with `any_of`, one of them.

        exact_match(("red", "blue"), "Blue, red.")  # True

    Args:
        answers (`Sequence[str]`): the right ones.
        said (`str`): what was said.
        any_of (`bool`): whether one of them will do; then what SQuAD's script takes for the same counts too.
    """
    if any_of:
        return any(_is_same(answer, said) for answer in answers)
    if len(answers) == 1:
        return normalised(answers[0]) == normalised(said)
    given = [item for item in map(normalised, _SEPARATORS.split(said.casefold())) if item]
    return Counter(given) == Counter(map(normalised, answers))


def _is_same(answer, said):
    plain = squad_normalised(answer)
    return normalised(answer) == normalised(said) or (plain != "" and plain == squad_normalised(said))


def share_found(answers, said, any_of=False):
    """
    The share of the answers that what was said holds as whole words, `float`: RULER's measure (Hsieh et al. 2024, arXiv
    2404.06654), which forgives what else is said; in Chinese as characters in a row. For answers such as yes and A read
    `exact_match`.
    """
    said = normalised(said)
    found = [_holds(said, normalised(answer)) for answer in answers]
    return float(any(found)) if any_of else sum(found) / len(found)


def _holds(said, answer):
    # A single character may be part of any word.
    around = _LETTER if len(answer) > 1 else r"\w"
    return re.search(rf"(?<!{around}){re.escape(answer)}(?!{around})", said) is not None


def answer_f1(answers, said, any_of=False):
    """
    F1 over bags of words, `float`, as SQuAD's script counts it (arXiv 1606.05250), of Chinese over characters: with the
    best of the answers where one will do, else with all of them.
    """
    references = answers if any_of else [" ".join(answers)]
    return max(_f1(_words(each), _words(said)) for each in references)


def _words(text):
    return _WORDS.findall(squad_normalised(text))


def _f1(reference, given):
    if not reference or not given:
        return float(reference == given)
    return 2 * (Counter(reference) & Counter(given)).total() / (len(reference) + len(given))


def answer_scores(answers, said, any_of=False):
    """All measures of an answer by name, `dict[str, float]`."""
    measures = {"exact_match": exact_match, "found": share_found, "f1": answer_f1}
    return {name: float(measure(answers, said, any_of)) for name, measure in measures.items()}
