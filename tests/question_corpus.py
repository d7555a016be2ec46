"""A small corpus to ask about, in English and Chinese, from a seed."""

import random
import re

from c3.eval.questions.sentence_presence import PROMPTS

SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
CHARACTERS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"


def make_corpus(documents=90):
    """Texts, `list[str]`, two of three in English; no sentence is in two of them."""
    rng = random.Random("a corpus")
    return [(_chinese if number % 3 == 2 else _english)(rng) for number in range(documents)]


def _english(rng):
    """Four paragraphs, each with a heading, and words such as no tokenizer has whole."""

    def sentence():
        words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 2))) for _ in range(rng.randint(4, 8))]
        return " ".join(words).capitalize() + rng.choice(".?!")

    return "\n\n".join(f"# {number}\n" + " ".join(sentence() for _ in range(rng.randint(5, 9))) for number in range(4))


def _chinese(rng):
    def sentence():
        return "".join(rng.choices(CHARACTERS, k=rng.randint(5, 11))) + rng.choice("。？！")

    return "\n\n".join("".join(sentence() for _ in range(rng.randint(5, 9))) for _ in range(4))


def matcher(form, **groups):
    """A pattern for a text of a `form` with names in braces, for each of which there is a pattern in `groups`."""
    parts = re.split(r"(\{\w+\})", form)
    return re.compile(
        "".join(groups[part[1:-1]] if part[:1] == "{" else re.escape(part) for part in parts), re.IGNORECASE
    )


def asked_sentence(prompt):
    """What a question of `sentence_presence.py` asks for."""
    forms = [matcher(form, sentence=r"([^\n]+)").fullmatch(prompt) for forms in PROMPTS.values() for form in forms]
    # The form that says most: a sentence may look like the end of another form.
    return min((form[1] for form in forms if form), key=len)
