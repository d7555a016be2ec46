"""
Synthetic train texts that have to come back exactly and cannot be guessed, from a seed alone: values in lists, tables,
JSON, logs and sentences; repeats, white space, letters of many scripts, and lines that are written in unusual ways. The
prose in them is drawn from a list of words; nothing is downloaded.
"""

import csv
import io
import json
import random

from .exact_values import ALPHANUMERIC, VALUES, WORDS, drawn

# Characters of a document, at least and at most; the last one is cut so that the sum is right.
DOCUMENT = 2000, 6000
ESCAPED_BAR = r"\|"
LEVELS = ["INFO", "WARN", "ERROR", "DEBUG", "TRACE", "info", "warning"]
# First and last of stretches of letters without a gap, by script. Chinese, Japanese and Korean characters stand for
# syllables or words, of which there are few in a run.
SCRIPTS = {
    "Latin": ("àö", "øÿ", "Āž"),
    "Greek": ("αω",),
    "Cyrillic": ("ая", "АЯ", "ѐџ"),
    "Armenian": ("աֆ",),
    "Hebrew": ("את",),
    "Arabic": ("اغ", "في"),
    "Devanagari": ("अऔ", "कन", "पर"),
    "Bengali": ("কন",),
    "Tamil": ("ணத", "மஹ"),
    "Thai": ("กะ",),
    "Georgian": ("აჰ",),
    "Ethiopic": ("ሀሆ", "ለሟ"),
    "Hiragana": ("ぁゖ",),
    "Katakana": ("ァヺ",),
    "Hangul": ("가힣",),
    "Han": ("一龥",),
}
SYMBOLS = {
    "arrows": ("←⇿",),
    "mathematics": ("∀⋿",),
    "boxes": ("─╿", "▀▟"),
    "shapes": ("■◿", "☀♯"),
    "punctuation": ("¡¬", "‐‧", "‰‾"),
    "money": ("₠₵",),
    "numbers": ("①⑳", "Ⅰⅿ", "⁴₉"),
    "emoji": ("😀🙏", "🌀🌠", "🐀🐾", "🚀🛅", "🤐🤺"),
}
ALPHABETS = [*SCRIPTS.values(), *SYMBOLS.values()]


def exact_strings(characters, seed=0):
    """
    Yields documents, `str`, that have so many characters together; each depends on `seed` and its place alone.

    Args:
        characters (`int`): of all of them.
        seed (`int`): the same one gives the same documents.
    """
    place = 0
    while characters > 0:
        rng = random.Random(f"exact strings {seed} {place}")
        text = document(rng)[:characters]
        yield text
        characters -= len(text)
        place += 1


def document(rng):
    """Sections of several kinds, drawn by a `random.Random`, up to a length that it draws too."""
    wanted, sections, length = rng.randint(*DOCUMENT), [], 0
    makers, weights = zip(*KINDS.items(), strict=True)
    while length < wanted:
        sections.append(rng.choices(makers, weights)[0](rng))
        length += len(sections[-1]) + 2
    return "\n\n".join(sections)[:wanted]


# Values, in the company in which they are found


def listed(rng):
    make = rng.choice(list(VALUES.values()))
    bullet = rng.choice(("- ", "* ", "", "  • ", "{}. ", "({}) "))
    return "\n".join(bullet.format(place + 1) + make(rng) for place in range(rng.randint(3, 15)))


def labelled(rng):
    separator = rng.choice((": ", "=", " = ", "\t", ", "))
    return "\n".join(f"{name}{separator}{VALUES[name](rng)}" for name in _names(rng, rng.randint(3, 10)))


def separated(rng):
    """CSV, with quotes where a value needs them."""
    names, separator = _names(rng, rng.randint(2, 6)), rng.choice((",", ",", ";", "\t"))
    rows = [names, *([VALUES[name](rng) for name in names] for _ in range(rng.randint(3, 10)))]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue().removesuffix("\n")


def markdown_table(rng):
    names = _names(rng, rng.randint(2, 5))
    rows = [names, ["---"] * len(names), *([VALUES[name](rng) for name in names] for _ in range(rng.randint(2, 8)))]
    return "\n".join(f"| {' | '.join(cell.replace('|', ESCAPED_BAR) for cell in row)} |" for row in rows)


def json_object(rng):
    def row():
        values = {name: VALUES[name](rng) for name in _names(rng, rng.randint(2, 6))}
        extras = [rng.randrange(10**9), round(rng.uniform(-1000, 1000), rng.randint(1, 6)), None, rng.random() < 0.5]
        return values | {rng.choice(WORDS): rng.choice(extras)}

    rows = [row() for _ in range(rng.randint(1, 4))]
    value = rng.choice((rows[0], rows, {rng.choice(WORDS): rows}))
    return json.dumps(value, indent=rng.choice((None, 2, 4)), ensure_ascii=False)


def log_lines(rng):
    lines, second = [], rng.randrange(86400)
    day = f"{rng.randint(1990, 2040)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    for _ in range(rng.randint(3, 12)):
        second = (second + rng.randrange(100)) % 86400
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{rng.randrange(1000):03d}"
        (name,) = _names(rng, 1)
        place = f"{rng.choice(WORDS)}.{rng.choice(WORDS)}[{rng.randrange(100000)}]"
        said = f"{' '.join(rng.choices(WORDS, k=rng.randint(1, 4)))} {name}={VALUES[name](rng)}"
        lines.append(f"{day} {clock} {rng.choice(LEVELS)} {place}: {said}")
    return "\n".join(lines)


def in_sentences(rng):
    return " ".join(_sentence(rng, _value(rng)) for _ in range(rng.randint(2, 6)))


def _names(rng, count):
    return rng.sample(list(VALUES), count)


def _value(rng):
    return rng.choice(list(VALUES.values()))(rng)


def _sentence(rng, *values):
    """Words in a row with values among them."""
    words = rng.choices(WORDS, k=rng.randint(5, 16))
    for value in values:
        words.insert(rng.randint(1, len(words)), value)
    text = " ".join(words)
    return text[0].upper() + text[1:] + rng.choice((".", ".", ".", "?", "!", ":"))


# Repeats


def repeated(rng):
    """A character, a few characters or a word over and over."""
    piece = rng.choice(
        (
            drawn(rng, ALPHANUMERIC, 1),
            rng.choice("-=_*#.~/\\|+0aA"),
            drawn(rng, ALPHANUMERIC, rng.randint(2, 5)),
            rng.choice(WORDS) + " ",
            rng.choice(WORDS),
            f"{rng.choice(WORDS)}, ",
            _letter(rng, rng.choice(ALPHABETS)),
        )
    )
    return (piece * rng.randint(5, 400))[: rng.randint(20, 600)]


def repeated_line(rng):
    """A line over and over, in half of the texts with one among them that differs in a character."""
    line = rng.choice((_sentence(rng), _sentence(rng, _value(rng)), _value(rng)))
    lines = [line] * rng.randint(3, 12)
    if rng.random() < 0.5:
        place = rng.randrange(len(line))
        lines[rng.randrange(len(lines))] = line[:place] + drawn(rng, ALPHANUMERIC, 1) + line[place + 1 :]
    return "\n".join(lines)


# White space


def white_space(rng):
    """Words with runs of spaces, tabs and line ends between them."""
    pieces = []
    for _ in range(rng.randint(5, 30)):
        run = rng.choice((" ", " ", "\t", "\n")) * rng.choice((1, 2, 3, 4, 8, rng.randint(5, 60)))
        pieces += [run, rng.choice((rng.choice(WORDS), "", "|", "x"))]
    return "".join(pieces)


def indented(rng):
    """Lines that begin, and some of which end, with white space, as those of programs and columns do."""
    unit, lines, depth = rng.choice(("  ", "    ", "\t")), [], 0
    for _ in range(rng.randint(4, 15)):
        depth = max(0, depth + rng.choice((-1, 0, 0, 1)))
        words = rng.choice((" ", " ", "  ", "\t")).join(rng.choices(WORDS, k=rng.randint(1, 6)))
        lines.append(unit * depth + words + rng.choice((":", ";", "", "", " ", "   ")))
    return "\n".join(lines)


# Scripts


def letters(rng):
    """Words of letters in one script, or in a line for each of several."""
    scripts = rng.sample(list(SCRIPTS), rng.choice((1, 1, 3)))
    return "\n".join(_words_of(rng, SCRIPTS[script], short=script in ("Hangul", "Han")) for script in scripts)


def symbols(rng):
    """Runs of symbols or emoji, with and without spaces, between words and in a row for themselves."""
    alphabet, separator = SYMBOLS[rng.choice(list(SYMBOLS))], rng.choice(("", " ", "\n"))
    runs = [separator.join(_letter(rng, alphabet) for _ in range(rng.randint(1, 30))) for _ in range(rng.randint(1, 8))]
    between = rng.choice(("\n", " ", f" {rng.choice(WORDS)} "))
    return between.join(runs)


def _words_of(rng, alphabet, short):
    words = rng.randint(5, 40)
    return " ".join(
        "".join(_letter(rng, alphabet) for _ in range(rng.randint(1, 4 if short else 10))) for _ in range(words)
    )


def _letter(rng, alphabet):
    """One of the characters from the first to the last of a stretch."""
    stretch = rng.choice(alphabet)
    return chr(rng.randint(ord(stretch[0]), ord(stretch[-1])))


# Prose that is written in unusual ways


def altered(rng):
    """Lines in capitals, backwards, with their words or letters shuffled, without spaces, spaced out."""
    alter = rng.choice(
        (str.upper, str.upper, backwards, shuffled_words, shuffled_letters, spaceless, spaced, str.title)
    )
    lines = [_sentence(rng).lower() for _ in range(rng.randint(1, 5))]
    return "\n".join(alter(line) if alter not in SHUFFLES else alter(line, rng) for line in lines)


def backwards(line):
    return line[::-1]


def shuffled_words(line, rng):
    words = line.split(" ")
    rng.shuffle(words)
    return " ".join(words)


def shuffled_letters(line, rng):
    return "".join(rng.sample(line, len(line)))


def spaceless(line):
    return line.replace(" ", "")


def spaced(line):
    return " ".join(line)


SHUFFLES = shuffled_words, shuffled_letters

# How often each is drawn. They differ in length: none has more than an eighth of the characters. Letters and symbols
# have fewer, since each may be several tokens.
KINDS = {
    listed: 6,
    labelled: 5,
    separated: 2,
    markdown_table: 3,
    json_object: 4,
    log_lines: 2,
    in_sentences: 6,
    repeated: 7,
    repeated_line: 4,
    white_space: 8,
    indented: 5,
    letters: 4,
    symbols: 5,
    altered: 10,
}
