"""What the commands read: texts and files of latents. What goes wrong becomes one line that says what to do."""

import io
import re
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

from c3.support.arguments import file_name, whole_number
from c3.support.errors import UserError, naming
from c3.support.loading import warnings_in_one_line

LATENTS_ENDING = ".c3"
LATENTS_HELP = "what c3 compress wrote; - for standard input"


def add_latents_options(parser):
    """Which latents of which file, see `load_texts`."""
    parser.add_argument("file", type=file_name, metavar="FILE.c3", help=LATENTS_HELP)
    parser.add_argument("--text-index", type=whole_number(0), metavar="I", help="the I-th text of the file, from 0")
    parser.add_argument("--allow-mismatch", action="store_true", help="read latents that another model made")


def source_name(source):
    """What messages call a file that is to be read."""
    return "standard input" if source == "-" else source


def standard_input():
    """Its binary file object; UserError where the process was started without one."""
    if sys.stdin is None:
        raise UserError("standard input is closed: nothing can be read from it")
    return sys.stdin.buffer


def check_standard_input(sources):
    """Raises `UserError` where it is named twice among some files."""
    if sources.count("-") > 1:
        raise UserError("standard input (-) can be read only once")


def read_text(source):
    """
    Args:
        source (`str`): a file, or `-` for standard input.

    Returns: `str`, the very characters of the file: line ends and a byte order mark are kept.

    Raises:
        UserError: no such file, a folder, not UTF-8, empty, too large.
    """
    return _decoded(source, _read_bytes(source))


def read_text_or_latents(source):
    """
    As `read_text`; or the [`C3Latents`] of a file that is called .c3 or, as on standard input, begins like one.

        c3 compress book.txt -o - | c3 ask - "Who wrote it?"
    """
    if source.endswith(LATENTS_ENDING):
        return load_latents(source)
    from c3.latents_file_c3 import begins_latents

    data = _read_bytes(source)
    return load_latents(source, data) if begins_latents(data) else _decoded(source, data)


def _read_bytes(source):
    """What a file holds, `bytes`, one at least; raises as `read_text`."""
    name = source_name(source)
    if source != "-" and Path(source).is_dir():
        raise UserError(f"{source} is a folder: name text files")
    try:
        with naming(name):
            data = standard_input().read() if source == "-" else Path(source).read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {source}") from None
    except MemoryError:
        raise UserError(f"{name} does not fit into memory: cut it into several texts") from None
    if not data:
        raise UserError(f"{name} is empty: give at least one character")
    return data


def _decoded(source, data):
    """The `str` of what a file holds; raises as `read_text`."""
    name = source_name(source)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x} ({error.reason}). "
            "Only text in UTF-8 can be compressed: convert it first, for example with iconv"
        ) from None


def load_latents(source, data=None):
    """
    [`C3Latents`] of a file, or with `-` of standard input, of which no more is read than its header says; of `data`
    where its `bytes` have been read.
    """
    from c3.latents_c3 import C3Latents

    with warnings_in_one_line(), naming(source_name(source)):
        if data is not None:
            file = _NamedBytes(data)
            file.name = source_name(source)
            return C3Latents.load(file)
        return C3Latents.load(standard_input() if source == "-" else source)


class _NamedBytes(io.BytesIO):
    """Of a file, by whose `name` errors call it."""


def load_texts(args):
    """`C3Latents` of the texts asked for, and their indices in the file."""
    latents = load_latents(args.file)
    if args.text_index is None:
        return latents, range(len(latents))
    if args.text_index >= len(latents):
        held = f"{len(latents)} texts, 0 to {len(latents) - 1}" if len(latents) > 1 else "one text, 0"
        raise UserError(f"--text-index {args.text_index}: {source_name(args.file)} holds {held}")
    return latents[args.text_index], [args.text_index]


def of_file(said, files):
    """What the library says of "text", or of "text I" where there are several, said of the file."""
    text = re.match(r"text\b" if len(files) == 1 else r"text ([0-9]+)\b", said)
    return said if text is None else source_name(files[int(text[1]) if text.groups() else 0]) + said[text.end() :]


@contextmanager
def naming_files(files):
    """Meanwhile warnings and errors of texts name their files."""
    show = warnings.showwarning
    warnings.showwarning = lambda message, *rest, **more: show(of_file(str(message), files), *rest, **more)
    try:
        yield
    except ValueError as error:
        raise UserError(of_file(str(error), files)) from error
    finally:
        warnings.showwarning = show
