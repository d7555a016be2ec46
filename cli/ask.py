"""`c3 ask`: compresses texts, or takes latents, and asks about them."""

import argparse
import math
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

from c3.quoting_c3 import printable
from c3.support.arguments import file_name, utf8_text, whole_number
from c3.support.errors import UserError
from c3.support.loading import check_answers

from .generate import what_was_compressed
from .inputs import LATENTS_ENDING, check_standard_input, naming_files, read_text_or_latents, source_name
from .model_options import add_amount_options, add_model_options, amount, asked_model, progress

SUMMARY = "compress texts and ask about them"
# What is more likely a file that is not there than a question: one word that ends as names of files do.
FILE_NAME = re.compile(r"\S+\.[A-Za-z]\w{0,7}")
AS_IN = 'as in c3 ask FILE "Who wrote it?"'


def add_arguments(parser):
    parser.usage = '%(prog)s [options] FILE… "question"'
    parser.description = (
        "Compresses the files and has a model that was trained on questions answer one about them. Several files are "
        "one context, in their order, unless --each is given. What was compressed is said on standard error."
    )
    add_model_options(parser, quiet="no progress bars, nor what was compressed")
    parser.scattered = "words"
    about = (
        f"UTF-8 texts or {LATENTS_ENDING} files, which c3 compress wrote, - for either on standard input; then what "
    )
    about += "to ask"
    parser.add_argument("words", nargs="+", metavar='FILE… "question"', help=about)
    about = "what to ask; again for more questions, for which the files are read once. Words are then all files"
    more = {"type": utf8_text, "action": "append", "dest": "questions", "metavar": "QUESTION", "help": about}
    parser.add_argument("-q", "--question", **more)
    parser.add_argument(
        "--each", action="store_true", help="ask about one text after the other, not about all together"
    )
    add_amount_options(parser)
    parser.add_argument("--raw", action="store_true", help="give the decoder the text itself, to compare with")
    about = "compress long questions and the answers as well, at --ratio, so many tokens at a time"
    parser.add_argument("--compress-every", type=whole_number(1), metavar="K", help=about)
    about = "(default: 256, or for how many the decoder has positions)"
    parser.add_argument("--max-new-tokens", type=whole_number(1), metavar="N", help=about)
    parser.add_argument("--allow-mismatch", action="store_true", help="read latents that another model made")


@dataclass(frozen=True)
class AskedContext:
    """
    What is read together.

    Args:
        name (`str`): of the file, or how many files there are.
        parts (`list[tuple[str, str or C3Latents]]`): files, and what they hold: a text, or latents.
    """

    name: str
    parts: list


def run(args):
    files, questions = _files_and_questions(args)
    contexts = _read_contexts(args, files)
    with asked_model(args) as model:
        check_answers(model)
        model = model.answering()  # whose template takes positions
        if model.config.reconstruction_prompt in questions:
            raise UserError(f"{model.config.reconstruction_prompt!r} asks for the text itself: c3 expand gives that")
        rows = [_segments(model, context, args) for context in contexts]
        for context, segments in zip(contexts, rows, strict=True):
            _check_positions(model, context, segments, questions, args)
        for context, segments in zip(contexts, rows, strict=True):
            start = time.perf_counter()
            read = _as_read(model, context, args)
            has_texts = not args.raw and any(isinstance(part, str) for _, part in context.parts)
            seconds = time.perf_counter() - start if has_texts else None
            if not args.quiet:
                print("c3:", what_was_read(model, context.name, *_counts(segments), seconds), file=sys.stderr)
            answers = _answers(model, read, questions, args)
            for question, answer in zip(questions, answers, strict=True):
                named = [f"{printable(context.name)}:"] if args.each else []
                print(*named, *([question] if len(questions) > 1 else []), answer, flush=True)


def _files_and_questions(args):
    """`list[str]` of either; `UserError` where one of them is missing."""
    *files, last = args.words
    is_file = last == "-" or os.path.exists(os.path.expanduser(last))
    if args.questions:
        if not is_file:
            raise UserError(f"there is no file {last}: where -q gives a question, all others need it too")
        files, questions = args.words, args.questions
    elif is_file:
        raise UserError(f"the question is missing, as {last} is a file: put one behind it, {AS_IN}")
    elif not files:
        raise UserError(f"there is no file {last}, or no file before the question: give both, {AS_IN}")
    elif FILE_NAME.fullmatch(last):
        said = f"there is no file {last}, or the question is missing"
        raise UserError(f"{said}: put one last, {AS_IN}, or give it with -q")
    else:
        questions = [last]
    try:
        files, questions = list(map(file_name, files)), list(map(utf8_text, questions))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"a file or question {error}") from None
    if not all(map(str.strip, questions)):
        raise UserError(f"a question is empty: say what to ask, {AS_IN}")
    check_standard_input(files)
    return files, questions


def _read_contexts(args, files):
    """The [`AskedContext`]s of files: one of all, or with `--each` one of each text."""
    given = [f"--{name.replace('_', '-')}" for name, value in amount(args).items() if value is not None]
    if args.compress_every and "--ratio" in given:  # which is then that of question and answers, too
        given.remove("--ratio")
    if args.raw and given:
        raise UserError(f"--raw compresses nothing: leave {given[0]} out")
    parts = [(file, read_text_or_latents(file)) for file in files]
    latents = [source_name(file) for file, part in parts if not isinstance(part, str)]
    if args.raw and latents:
        raise UserError(f"--raw: {latents[0]} holds latents and not the text itself: name the text's file")
    if given and len(latents) == len(files):
        raise UserError(f"{given[0]}: {latents[0]} is compressed already: leave it out, or name the text's file")
    for file, part in parts:
        if not len(part):
            raise UserError(f"{source_name(file)} holds no texts: there is nothing to ask about")
    if not args.each:
        return [AskedContext(source_name(files[0]) if len(files) == 1 else f"{len(files)} files", parts)]
    contexts = []
    for file, part in parts:
        texts = [part] if isinstance(part, str) else list(part)
        for index, text in enumerate(texts):
            name = source_name(file) + (f", text {index}" if len(texts) > 1 else "")
            contexts.append(AskedContext(name, [(file, text)]))
    return contexts


def _segments(model, context, args):
    """What the decoder reads of a context, `list[LatentSpan or TextSegment]`, before anything is compressed."""
    from c3.decoder_rows_c3 import TextSegment

    segments = []
    for file, part in context.parts:
        with _naming_error(file):
            if not isinstance(part, str):
                model.check_latents(part, args.allow_mismatch)
                segments += [span for spans in part.spans for span in spans]
            elif args.raw:
                segments.append(TextSegment(model.processor.encode(part)))
            else:
                segments += model.plan_windows(part, **amount(args)).spans
    return segments


@contextmanager
def _naming_error(file):
    """Has what the library says of a text begin with its file."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{source_name(file)}: {error}") from error


def _check_positions(model, context, segments, questions, args):
    """Raises `UserError` where the decoder has not the positions for what is read, asked and answered."""
    from c3.position_limits_c3 import most_positions, positions_of_chunks, taken_positions

    chunking = _chunking(model, args)
    layout = chunking or model.processor
    rows = [layout.row(segments, question) for question in questions]
    most, new = most_positions(model.config.decoder_config), args.max_new_tokens or 1
    read = taken_positions(model.config, rows)
    room = most - read
    if (highest := positions_of_chunks(model.config, rows)) > most:
        raise UserError(
            f"{context.name}: a chunk of the question is read at positions up to {highest}, but the decoder was made "
            f"for {most}: try a smaller --compress-every or a higher --ratio"
        )
    if new <= (chunking.new_tokens(room) if chunking and room > 0 else room):
        return
    if chunking and room > 0:
        raise UserError(
            f"{context.name}: after what is read and asked there is room for {chunking.new_tokens(room)} new tokens, "
            f"{chunking.every} of them in {chunking.num_latents} latents: try a smaller --max-new-tokens"
        )
    taken = read + new
    remedies = ["less text"] if len(context.parts) == 1 else ["fewer files", "--each"]
    remedies += ["a smaller --max-new-tokens"] if args.max_new_tokens else []
    if taken_positions(model.config, [layout.row([], question) for question in questions]) >= most:
        remedies = ["a shorter question"]
    elif args.raw:
        remedies.insert(0, "leaving out --raw")
    elif ratio := _fitting_ratio(model, segments, taken - most):
        is_compressed = any(not isinstance(part, str) for _, part in context.parts)
        remedies.insert(0, "latents of a higher ratio" if is_compressed else f"a --ratio of at least {ratio}")
    what, listed = (
        "text" if args.raw else "latents",
        " or ".join(filter(None, (", ".join(remedies[:-1]), remedies[-1]))),
    )
    raise UserError(
        f"{context.name}: {what}, question and answer take {taken} positions, {taken - most} more than the {most} that "
        f"the decoder was made for: try {listed}"
    )


def _chunking(model, args):
    """How question and answers are compressed, a `Chunking`; None where they are not."""
    from c3.chunked_rows_c3 import Chunking
    from c3.position_limits_c3 import check_chunk_length

    if not args.compress_every:
        return None
    check_chunk_length(model.config, args.compress_every, model.processor.default_window)
    return Chunking(model.processor, args.compress_every, args.ratio)


def _fitting_ratio(model, segments, missing):
    """A ratio at which latents leave as many more positions (`int`); None where none does."""
    left = sum(span.num_latents for span in segments) - missing
    # A window has one latent at least. Among the text, latents take the positions of what they stand for.
    if model.config.prompt_positions != "consecutive" or left < len(segments):
        return None
    return math.ceil(sum(span.num_tokens for span in segments) / left)


def _as_read(model, context, args):
    """For `C3Model.generate`: the latents of a context's texts, or with `--raw` these themselves, `list`."""
    texts = {file: part for file, part in context.parts if isinstance(part, str)}
    if not texts or args.raw:
        return [part for _, part in context.parts]
    options = {**amount(args), "batch_size": args.batch_size, "show_progress": progress(args)}
    given = list(texts.values())
    with naming_files(list(texts)):
        latents = model.compress(given[0] if len(given) == 1 else given, **options)
    made = dict(zip(texts, latents, strict=True))
    return [made.get(file, part) for file, part in context.parts]


def _answers(model, read, questions, args):
    """What is answered to questions about what is read, `list[str]`; what that compresses goes to standard error."""
    options = {"max_new_tokens": args.max_new_tokens, "allow_mismatch": args.allow_mismatch}
    if not args.compress_every:
        return model.generate(read, questions, batch_size=args.batch_size, **options)
    options |= {"compress_every": args.compress_every, "ratio": args.ratio, "return_dict_in_generate": True}
    size = args.batch_size or len(questions)
    asked = [questions[start : start + size] for start in range(0, len(questions), size)]
    outputs = [model.generate(read, some, **options) for some in asked]
    if not args.quiet:
        print("c3:", what_was_compressed(outputs), file=sys.stderr)
    return [model.processor.decode_answer(ids) for output in outputs for ids in output.sequences]


def what_was_read(model, name, tokens, latents, seconds=None):
    """
    A line, `str`, on what takes the place of a text, and what that saves.

        what_was_read(model, "a.txt", latents.text_tokens, latents.num_latents)

    Args:
        model ([`C3Model`]): whose cache counts.
        name (`str`): of the text.
        tokens, latents (`int`): that it has; no latents where it is read as it is.
        seconds (`float`, *optional*): that it took to compress it.
    """
    from c3.cache_size_c3 import cache_bytes

    raw, said = f"{cache_bytes(model, tokens) / 2**20:.2f} MiB", f"{printable(name)}: {tokens} tokens"
    if not latents:
        return f"{said} as they are, cache {raw}"
    cache = f"cache {cache_bytes(model, latents) / 2**20:.2f} MiB instead of {raw}"
    took = "" if seconds is None else f", compressed in {seconds:.2f} s"
    return f"{said} in {latents} latents ({tokens / latents:.1f}x), {cache}{took}"


def _counts(segments):
    """Tokens of segments, or that they stand for, and latents: two `int`."""
    tokens = sum(len(each.ids) if hasattr(each, "ids") else each.num_tokens for each in segments)
    return tokens, sum(getattr(each, "num_latents", 0) for each in segments)
