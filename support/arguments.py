"""Arguments of commands, and the types that say in one line what is wrong with one."""

import argparse
import math
import os

from c3.quoting_c3 import in_one_line

from .errors import USER_ERROR, command_name

MODEL_HELP = "folder or Hub id of a C3 checkpoint (default: the one that comes with c3)"


class Parser(argparse.ArgumentParser):
    """
    Says what is wrong with a command line in one line, as all else is said.

    Attributes:
        scattered (`str`, *optional*): name of a list of words that may also stand behind options, as the question in
            `c3 ask a.txt b.txt --ratio 8 "…"`; argparse itself takes the first words that stand together.
    """

    scattered = None

    def parse_known_args(self, args=None, namespace=None):
        namespace, left = super().parse_known_args(args, namespace)
        if self.scattered:
            getattr(namespace, self.scattered).extend(each for each in left if _is_word(each))
            left = [each for each in left if not _is_word(each)]
        return namespace, left

    def error(self, message):
        self.exit(USER_ERROR, f"{command_name(self.prog)}: error: {in_one_line(message)} (see {self.prog} --help)\n")


def _is_word(text):
    return text == "-" or not text.startswith("-")


def file_name(text):
    """Of a file or folder. Shells leave `~` as it is in `--output=~/x`, and make nothing of a variable not set."""
    if not text:
        raise argparse.ArgumentTypeError("must be a name, not ''")
    return os.path.expanduser(text)


def whole_number(least, most=None):
    """The type of whole numbers of `least` or more, up to `most`."""
    allowed = f"of {least} or more" if most is None else f"from {least} to {most}"

    def parse(text):
        # int() would also take 1_000 and surrounding blanks.
        if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"must be a whole number {allowed}, not {text!r}")
        return int(text)

    return parse


def compression_ratio(text):
    """Text tokens per latent."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of 1 or more (text tokens per latent), not {text!r}")
    return value


def fidelity(text):
    """The share of tokens that need no correction."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1 (a share of tokens), not {text!r}")
    return value


def depth(text):
    """A place in a text, 0 its start and 1 its end."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 (start of the text) to 1 (its end), not {text!r}")
    return value


def utf8_text(text):
    """An argument as UTF-8, also where the locale made something else of its bytes."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
