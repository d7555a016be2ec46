"""Texts to sentences that can be asked about: whole ones, each on one line, without headings, lists and tables."""

import re
from typing import NamedTuple

_PARAGRAPH = re.compile(r"\s*\n\s*\n\s*")
# Shorter lines are headings, verses, items: the next line does not go on with them.
_SHORTEST_WRAPPED_LINE = 40
# After a full stop and what closes with it, where a capital, a digit or an opening quote follows; after a Chinese one.
_END = re.compile(r"(?<=[.!?…])([\"'”’)\]]*)\s+(?=[\"'“‘(\[¿¡]?[^\W_a-z])|(?<=[。！？])([”’」』）]*)\s*")
# Full stops that end no sentence: titles, initials and others after which a capital or a number stands; numbering.
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Mt|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Sr|Jr|Messrs|No|Nos|Art|Sec|Fig|Vol|Ch|pp?|vs|cf|etc|"
    r"e\.g|i\.e|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|[A-Z])\.$"
)
_LONGEST_ABBREVIATION = 7
_NUMBERING = re.compile(r"\(?\d{1,3}\.")
_WHOLE = re.compile(r"[\"'“‘(\[「『（《]?[^\W_a-z].*[.!?…。！？][\"'”’)\]」』）]*", re.DOTALL)
# Characters of a sentence: at least and at most of one that is used, and at most of one that is asked about.
LENGTHS = {"en": (12, 400, 160), "zh": (5, 120, 48)}


class Sentence(NamedTuple):
    """
    Args:
        text (`str`): on one line.
        separator (`str`): what stands between it and the sentence before.
        tokens (`int`): of both.
        document (`int`, *optional*): of the corpus; None for what is not from there.
    """

    text: str
    separator: str
    tokens: int
    document: int | None = None


def split_sentences(text, language):
    """
    The whole sentences of a text, in order, with what separates each from the one before: a space (nothing in Chinese),
    or an empty line where a paragraph begins.

        split_sentences("Mr. Fox came. He\\nleft.", "en")  # [("Mr. Fox came.", ""), ("He left.", " ")]

    Args:
        text (`str`): of a document.
        language (`str`): `"zh"`, or any other for languages with spaces between words.

    Returns: `list[tuple[str, str]]`.
    """
    shortest, longest, _ = LENGTHS[language]
    found = []
    for paragraph in _PARAGRAPH.split(text):
        separator = "\n\n" if found else ""
        for line in _unwrapped(paragraph, language):
            for sentence in _cut(line):
                if shortest <= len(sentence) <= longest and _WHOLE.fullmatch(sentence):
                    found.append((sentence, separator))
                    separator = "" if language == "zh" else " "
    return found


def can_be_asked_about(sentence, language):
    """Whether a [`Sentence`] is short enough to stand in a question or an answer."""
    return len(sentence.text) <= LENGTHS[language][2]


def _unwrapped(paragraph, language):
    """Its lines; those of English that a fixed width has cut are put together again."""
    lines, wrapped = [], False
    for line in paragraph.splitlines():
        text = " ".join(line.split())
        if not text:
            continue
        if wrapped and text[0].isalpha():
            lines[-1] += f" {text}"
        else:
            lines.append(text)
        wrapped = language != "zh" and len(text) >= _SHORTEST_WRAPPED_LINE
    return lines


def _cut(line):
    start = 0
    for end in _END.finditer(line):
        closed = end.end(1) if end[1] is not None else end.end(2)
        if _ABBREVIATION.search(line, max(start, closed - _LONGEST_ABBREVIATION), closed):
            continue
        if _NUMBERING.fullmatch(line, start, closed):
            continue
        yield line[start:closed]
        start = end.end()
    if start < len(line):
        yield line[start:]
