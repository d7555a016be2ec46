"""
Asks about a book through its latents, and beside that through its raw text, and says which answers are right.

    python examples/ask_a_book.py book.txt [--model folder-of-another-model]

Two facts are hidden in a part of the book, and one of its sentences is given: what the facts are, and which sentence
comes next, is known, so that nobody has to judge. Your own `--question`s are answered too, and left to you to judge.
Without a book it takes the speech in this folder. Whole books in the public domain are at https://www.gutenberg.org,
as "Plain Text UTF-8"; `Pride and Prejudice` is https://www.gutenberg.org/ebooks/1342.
"""

import random
import sys
import time
from pathlib import Path

from c3.cli.ask import what_was_read
from c3.cli.inputs import read_text
from c3.cli.model_options import add_model_options, asked_model, progress
from c3.decoder_rows_c3 import TextSegment
from c3.eval.questions.needles import NEEDLE, ONE
from c3.eval.questions.neighbouring_sentence import FOLLOWS
from c3.eval.questions.sentences import split_sentences
from c3.eval.questions.word_lists import ADJECTIVES, NOUNS
from c3.eval.text_kinds import language
from c3.position_limits_c3 import most_positions, taken_positions
from c3.quoting_c3 import printable_lines
from c3.support.arguments import Parser, compression_ratio, utf8_text, whole_number
from c3.support.errors import UserError, one_line_errors
from c3.support.loading import check_answers

SPEECH = Path(__file__).parent / "jefferson_1805.txt"
# Positions that are kept for a question and its answer, and tokens of an answer.
FOR_A_QUESTION, NEW_TOKENS = 400, 80
# Characters of a sentence that is asked about.
SHORT = 160


def main(argv=None):
    parser = Parser(prog="ask_a_book.py", description=__doc__.split("\n\n")[0].strip())
    add_model_options(parser)
    parser.add_argument("book", nargs="?", default=str(SPEECH), metavar="BOOK.txt", help="(default: a speech of 1805)")
    parser.add_argument("--ratio", type=compression_ratio, default=8.0, metavar="R", help="(default: 8)")
    about = "tokens of a part, at most (default: 2000)"
    parser.add_argument("--tokens", type=whole_number(100), default=2000, metavar="N", help=about)
    about = "parts that are asked about, spread over the book (default: 3)"
    parser.add_argument("--parts", type=whole_number(1), default=3, metavar="N", help=about)
    about = "another question about each part; again for more"
    parser.add_argument("--question", type=utf8_text, action="append", default=[], metavar="TEXT", help=about)
    args = parser.parse_args(argv)
    with one_line_errors(parser.prog, args.debug):
        text = read_text(args.book)
        with asked_model(args) as model:
            check_answers(model)
            ask_about(model.answering(), text, args)


def ask_about(model, text, args):
    """Prints questions about parts of a text, the answers from latents and from the text, and how many are right."""
    parts = cut(model, text, args.tokens, args.ratio)
    rng, step, right = random.Random(0), max(1, len(parts) / args.parts), {"latents": [], "raw text": []}
    for place in [int(number * step) for number in range(min(args.parts, len(parts)))]:
        part, known = with_questions(parts[place], rng)
        questions = [*known, *args.question]
        start = time.perf_counter()
        latents = model.compress(part, ratio=args.ratio, batch_size=args.batch_size, show_progress=progress(args))
        seconds = time.perf_counter() - start
        name = f"part {place + 1} of {len(parts)}"
        print(what_was_read(model, name, latents.text_tokens, latents.num_latents, seconds))
        answers = {"latents": model.generate(latents, questions, max_new_tokens=NEW_TOKENS), "raw text": None}
        if fits(model, part, questions):
            answers["raw text"] = model.generate([part], questions, max_new_tokens=NEW_TOKENS)
        for number, question in enumerate(questions):
            expected = known.get(question)
            print(f"\n  {indented(question)}")
            if expected:
                print(f"    expected: {expected}")
            for source, given in answers.items():
                said = "(the part is longer than the decoder's positions)" if given is None else given[number].strip()
                if given is not None and expected:
                    right[source].append(said == expected)
                    said = f"{'right' if said == expected else 'wrong'}: {said}"
                print(f"    {source}: {indented(said)}")
        print(flush=True)
    for source, each in right.items():
        print(f"from {source}: {sum(each)} of {len(each)} answers right" if each else f"from {source}: no part fits")


def cut(model, text, most_tokens, ratio):
    """
    The whole sentences of a text in parts whose latents the decoder can read.

    Returns: `list[list[tuple[str, str]]]`, for each part its sentences, with what stands before each.

    Raises:
        UserError: there are fewer than four.
    """
    room = most_positions(model.config.decoder_config) - FOR_A_QUESTION
    # Where questions stand among the text, its latents take the positions of its tokens.
    room *= ratio if model.config.prompt_positions == "consecutive" else 1
    most_tokens, parts, left = min(most_tokens, room), [], 0
    for sentence, separator in split_sentences(text, language(text)):
        tokens = len(model.processor.encode(separator + sentence))
        if tokens > left or not parts:
            parts.append([])
            left = most_tokens
        parts[-1].append((sentence, separator))
        left -= tokens
    parts = [part for part in parts if len(part) > 3]
    if not parts:
        raise UserError("the text has too few whole sentences to ask about: give a longer one, or more --tokens")
    return parts


def with_questions(sentences, rng):
    """
    A part of a book, `str`, with two facts hidden in it, and questions about them and about the sentence that follows
    another one, `dict[str, str]` to the answers.
    """
    drawn = [f"{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}" for _ in range(3)]
    facts = [("number", drawn[0], str(rng.randrange(10**6, 10**7))), ("word", drawn[1], drawn[2])]
    known = {ONE[0].format(kind=kind, keys=key): value for kind, key, value in facts}
    half, most = len(sentences) // 2, 3 * len(sentences) // 4
    asked = [
        place
        for place in range(len(sentences) - 1)
        # A fact would come between.
        if place + 1 not in (half, most) and max(len(sentences[place + step][0]) for step in (0, 1)) <= SHORT
    ]
    if asked:
        place = min(asked, key=lambda each: abs(each - half / 2))
        known[FOLLOWS["en"][0].format(sentence=sentences[place][0])] = sentences[place + 1][0]
    # In the middle, and at three quarters.
    number, word = ((NEEDLE.format(kind=kind, key=key, value=value), " ") for kind, key, value in facts)
    whole = [*sentences[:half], number, *sentences[half:most], word, *sentences[most:]]
    return "".join(separator + sentence for sentence, separator in whole).strip(), known


def fits(model, text, questions):
    """Whether the decoder has positions for the tokens of a text, each question and its answer (`bool`)."""
    segment = TextSegment(model.processor.encode(text))
    rows = [model.processor.row([segment], question) for question in questions]
    return taken_positions(model.config, rows) + NEW_TOKENS <= most_positions(model.config.decoder_config)


def indented(text):
    """A text with its further lines under the first."""
    return printable_lines(text).replace("\n", "\n      ")


if __name__ == "__main__":
    sys.exit(main())
