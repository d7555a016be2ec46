"""What the commands read: texts and files of latents. What goes wrong becomes one line that says what to do."""

import re
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

from c3.support.arguments import file_name, whole_number
from c3.support.errors import UserError, naming
from c3.support.loading import warnings_in_one_line

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
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x} ({error.reason}). "
            "Only text in UTF-8 can be compressed: convert it first, for example with iconv"
        ) from None


def load_latents(source):
    """[`C3Latents`] of a file, or with `-` of standard input, of which no more is read than its header says."""
    from c3.latents_c3 import C3Latents

    with warnings_in_one_line(), naming(source_name(source)):
        return C3Latents.load(standard_input() if source == "-" else source)


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
