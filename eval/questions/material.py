"""What questions are made of, for one split: the sentences of a corpus, words, numbers, and a way to count tokens."""

import re
from collections import Counter
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from c3.eval.page_data import Page, plain_ids
from c3.eval.page_files import read_pages
from c3.eval.text_kinds import language

from .question import Unmakeable
from .sentences import Sentence, can_be_asked_about, split_sentences
from .splits import TEST_DOCUMENTS, in_split
from .word_lists import WORDS

# Characters after which a document is cut at the next paragraph, so that little is split and counted for a short text.
STRETCH = {"en": 2000, "zh": 800}
# Stretches whose sentences are kept: a few hundred megabytes at most.
KEPT_STRETCHES = 50_000
# Passages from which the fullest is taken, unless one is as full as the share below.
PASSAGES, FULL = 8, 0.97
# The share of its tokens that a passage has at least.
EMPTIEST = 0.5
# Words of a corpus: no names, and often enough that few are misspelt; of as many characters as are read in seconds.
_WORD = re.compile(r"(?<![\w'’-])[a-z]{3,12}(?![\w'’-])")
LEAST_TIMES, WORD_CHARACTERS = 3, 30_000_000


def read_corpus(files):
    """
    The texts of .parquet and .jsonl files with a column `text`, and of .txt files, which are one each: `list[str]`.

    Raises: `OSError`, `ValueError` saying in one line what is wrong with which file.
    """
    pages = []
    for file in map(Path, files):
        pages += [_read_text(file)] if file.suffix == ".txt" else read_pages(file)[0]
    return [page.text for page in pages]


def _read_text(file):
    try:
        return Page(file.name, "", file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None


class Stretch(NamedTuple):
    """Some paragraphs of a document, `texts[document][start:end]`."""

    document: int
    start: int
    end: int


def cut(document, text, least):
    """Yields the [`Stretch`]es of a document, of `least` characters or more."""
    start = 0
    while start < len(text):
        # Where a text has no paragraphs, at the end of a line.
        ends = (text.find("\n\n", start + least), text.find("\n", start + 2 * least))
        end = min((end for end in ends if end >= 0), default=len(text))
        yield Stretch(document, start, end)
        start = end


class Material:
    """
    What questions are made of.

        material = Material(read_corpus(["books.parquet"]), tokenizer, "train")

    Args:
        texts (`list[str]`): the documents of the corpus; those of the split are used.
        tokenizer (`PreTrainedTokenizerBase`): counts the tokens.
        split (`str`): `"train"` or `"test"`: their documents, words and numbers are different ones.

    Raises:
        ValueError: no document for this split.

    Attributes:
        words (`list[str]`): of keys, values and lists: those of the split, of the corpus and of `WORDS`.
    """

    def __init__(self, texts, tokenizer, split):
        self.tokenizer, self.split = tokenizer, split
        self.texts = [text for text in texts if in_split(split, text, TEST_DOCUMENTS)]
        if not self.texts:
            raise ValueError(
                f"none of the {len(texts)} documents of the corpus is for the split {split}, which a hash of each "
                "decides: give more documents"
            )
        # By their beginnings, which is quick.
        self.languages = [language(text[:200]) for text in self.texts]
        self.stretches = {}
        for document, (text, name) in enumerate(zip(self.texts, self.languages, strict=True)):
            self.stretches.setdefault(name, []).extend(cut(document, text, STRETCH[name]))
        self.sentences = lru_cache(KEPT_STRETCHES)(self._sentences)
        self.counted_once = lru_cache(self.counted)

    @cached_property
    def words(self):
        share = min(1, WORD_CHARACTERS / sum(map(len, self.texts)))
        times = Counter()
        for text in self.texts:
            # Of each document its beginning, so that all kinds of text give words.
            end = int(len(text) * share)
            # Up to a blank, lest the last word be a part of one.
            times.update(_WORD.findall(text if end >= len(text) else text[: text.rfind(" ", 0, end) + 1]))
        often = {word for word, count in times.items() if count >= LEAST_TIMES}
        return [word for word in sorted(often.union(WORDS)) if in_split(self.split, word)]

    @cached_property
    def tokens_of_a_word(self):
        """`float`, the mean of `words`."""
        return sum(word.tokens for word in self.counted(self.words)) / len(self.words)

    def count(self, texts):
        """Tokens of each of some texts, `list[int]`; of many at once it is quicker."""
        return [len(ids) for ids in plain_ids(self.tokenizer, texts)] if texts else []

    def counted(self, texts, separator=" "):
        """[`Sentence`]s of these texts."""
        tokens = self.count([separator + text for text in texts])
        return [Sentence(text, separator, count) for text, count in zip(texts, tokens, strict=True)]

    def _sentences(self, stretch):
        """The [`Sentence`]s of a [`Stretch`]."""
        document, start, end = stretch
        # What is no valid Unicode would count, and be written, as something else.
        text = self.texts[document][start:end].encode("utf-8", "replace").decode("utf-8")
        found = split_sentences(text, self.languages[document])
        if found:
            found[0] = (found[0][0], "\n\n")  # where it follows another one
        tokens = self.count([separator + sentence for sentence, separator in found])
        return [Sentence(*each, count, document) for each, count in zip(found, tokens, strict=True)]

    def passage(self, rng, length, least=1):
        """
        Sentences that follow one another in the corpus, from a random one on, over the ends of documents.

        Args:
            length (`int`): tokens, at most; as many as can be had of a few beginnings.
            least (`int`): sentences.

        Returns: `list[Sentence]`, all in one language.

        Raises:
            Unmakeable: there are too few sentences, or none short enough, or too few to fill half of it.
        """
        languages = list(self.stretches)
        same = self.stretches[rng.choices(languages, [len(self.stretches[name]) for name in languages])[0]]
        start = rng.randrange(len(same))
        best, most = [], 0
        for _ in range(PASSAGES):
            found = self._from(rng, same, start, length)
            held = sum(sentence.tokens for sentence in found)
            if len(found) >= least and held > most:
                best, most = found, held
            if most >= FULL * length:
                break
        if not best or most < EMPTIEST * length:
            raise Unmakeable("the corpus has too few whole sentences in a row that would fill the text")
        return best

    def _from(self, rng, stretches, start, length):
        """Sentences of so many tokens at most, from somewhere in a stretch on; none where the stretches end before."""
        found = []
        for step in range(len(stretches)):
            sentences = self.sentences(stretches[(start + step) % len(stretches)])
            first = rng.randrange(len(sentences)) if sentences and step == 0 else 0
            for sentence in islice(sentences, first, None):
                length -= sentence.tokens
                if length < 0:
                    return found
                found.append(sentence)
        return []

    def sentence_from_elsewhere(self, rng, passage):
        """
        A [`Sentence`] that can be asked about, of another document than those of a passage, in its language.

        Raises:
            Unmakeable: none was found.
        """
        used = {sentence.document for sentence in passage}
        name = self.language_of(passage)
        for _ in range(20):
            stretch = rng.choice(self.stretches[name])
            sentences = [] if stretch.document in used else self.sentences(stretch)
            if sentences:
                sentence = rng.choice(sentences)
                if can_be_asked_about(sentence, name):
                    return sentence
        raise Unmakeable("the corpus has no other document with sentences in the same language")

    def language_of(self, passage):
        """`"zh"` or `"en"`, of a passage."""
        return self.languages[passage[0].document]
