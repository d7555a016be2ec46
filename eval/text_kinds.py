"""
Kinds of text, from natural language to noise, for the question whether a language prior does the work: endless pieces
that follow from a seed alone, and pages made over.
"""

import random
import string
import uuid

from .page_data import plain_ids
from .words import is_chinese

_SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
_EXTENSIONS = ("html", "json", "png", "pdf", "csv", "js")
TYPO_RATE = 0.05


def _shuffled_words(text, rng):
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


def _with_typos(text, rng):
    """One character in twenty is doubled, left out, replaced by a letter or exchanged with the next."""
    characters, i = list(text), 0
    while i < len(characters):
        if rng.random() < TYPO_RATE:
            kind = rng.randrange(4)
            if kind == 0:
                characters[i] *= 2
            elif kind == 1:
                characters[i] = ""
            elif kind == 2:
                characters[i] = rng.choice(string.ascii_lowercase)
            elif i + 1 < len(characters):
                characters[i], characters[i + 1] = characters[i + 1], characters[i]
                i += 1
        i += 1
    return "".join(characters)


def _repeated(text, rng):
    """Twelve words of the page, again and again, as long as the page."""
    words = text.split()
    start = rng.randrange(max(1, len(words) - 12))
    sentence = " ".join(words[start : start + 12])
    return "\n".join([sentence] * (1 + len(text) // (len(sentence) + 1)))


# Made from English pages, and from Chinese ones: (page, random numbers) -> text.
PAGE_KINDS = {
    "English": lambda text, rng: text,
    "shuffled words": _shuffled_words,
    "reversed words": lambda text, rng: " ".join(reversed(text.split())),
    "all caps": lambda text, rng: text.upper(),
    "typos": _with_typos,
    "repeated text": _repeated,
}
CHINESE_KINDS = {"Chinese": lambda text, rng: text}


def _word(rng):
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4)))


def _random_characters(rng):
    return "".join(rng.choices(string.ascii_letters + string.digits + string.punctuation + " ", k=200))


def _code(rng):
    name, first, second, total = (_word(rng) for _ in range(4))
    return (
        f"def {name}_{_word(rng)}({first}, {second}={rng.randrange(100)}):\n"
        f"    {total} = [{first} * {rng.randrange(2, 50)} for {first} in range({second})]\n"
        f'    if len({total}) > {rng.randrange(1000)} and "{_word(rng)}" not in {first}:\n'
        f"        return {total}[{rng.randrange(9)}] {rng.choice('+-*/%')} self.{_word(rng)}\n"
        f"    return {{{second!r}: {total}}}\n\n"
    )


def _table(rng):
    rows = [[f"{rng.uniform(-1000, 1000):.{rng.randrange(4)}f}" for _ in range(5)] for _ in range(6)]
    header = [_word(rng) for _ in range(5)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, *rows]) + "\n\n"


def _identifiers(rng):
    url = f"https://{_word(rng)}.example.org/{_word(rng)}/{rng.randrange(10**6)}.{rng.choice(_EXTENSIONS)}"
    query = f"?{_word(rng)}={rng.getrandbits(48):x}"
    code = f"{''.join(rng.choices(string.ascii_uppercase, k=3))}-{rng.randrange(10**4):04d}"
    return f"{url}{query}\n{rng.getrandbits(128):032x} {_word(rng)}_{_word(rng)}{rng.randrange(100)} {code}\n"


# Made from nothing: random numbers -> a piece of text.
GENERATED_KINDS = {
    "random characters": _random_characters,
    "code": _code,
    "tables of numbers": _table,
    "URLs and identifiers": _identifiers,
}
RANDOM_TOKENS = "random tokens"


def _uuids(rng):
    return f"{uuid.UUID(int=rng.getrandbits(128), version=4)}\n"


def _numbers(rng):
    return f"{rng.randrange(10 ** rng.randint(1, 9))}\n"


# As those, of one thing alone, a line each.
LIST_KINDS = {"UUIDs": _uuids, "numbers": _numbers}


def language(text):
    """`"zh"` for a text of which a tenth or more is Chinese characters, else `"en"`."""
    return "zh" if sum(map(is_chinese, text)) >= len(text) / 10 else "en"


def pieces(kind, sample, num_samples, pages, tokenizer):
    """
    Pieces of text of one kind, that depend on nothing but the arguments; sample number `sample` of `num_samples`. Those
    made from pages end once every page was used, starting elsewhere for every sample; the others never end.

    Args:
        pages (`list[str]`): texts of the pages in the language of the kind; read by page kinds only.
        tokenizer: what random tokens are drawn from.
    """
    # A string as seed gives the same numbers in every version of Python since 3.2.
    rng = random.Random(f"{kind}/{sample}")
    if kind in PAGE_KINDS or kind in CHINESE_KINDS:
        change = (PAGE_KINDS | CHINESE_KINDS)[kind]
        start = sample * len(pages) // num_samples
        for text in pages[start:] + pages[:start]:
            yield change(text, rng) + "\n"
    elif kind == RANDOM_TOKENS:
        ids = whole_tokens(tokenizer)
        while True:
            yield tokenizer.decode(rng.choices(ids, k=100), clean_up_tokenization_spaces=False)
    else:
        while True:
            yield (GENERATED_KINDS | LIST_KINDS)[kind](rng)


def whole_tokens(tokenizer):
    """Ids of the tokens that are text by themselves: no special tokens, no pieces of characters."""
    special = set(tokenizer.all_special_ids)
    ids = [i for i in sorted(set(tokenizer.get_vocab().values())) if i not in special]
    texts = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    return [i for i, text in zip(ids, texts, strict=True) if text and "\ufffd" not in text]


def cut_tokens(tokenizer, text, length):
    """
    The start of a text, of `length` of its tokens, or of the few more that a whole character takes. None if the text is
    shorter.
    """
    ids = plain_ids(tokenizer, text)
    for end in range(length, len(ids) + 1):
        start = tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False)
        if start and not start.endswith("\ufffd"):
            return start
    return None


def text_of_length(tokenizer, pieces, length):
    """As `cut_tokens`, of as many pieces as it takes; None if they end before."""
    text = ""
    for piece in pieces:
        text += piece
        # No tokenizer here makes more than one token of a byte: no need to look before.
        if len(text.encode()) >= length:
            start = cut_tokens(tokenizer, text, length)
            if start is not None:
                return start
    return None
