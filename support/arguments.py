"""Arguments of commands."""

import argparse
import math

from c3.quoting_c3 import in_one_line

from .errors import USER_ERROR

MODEL_HELP = "folder or Hub id of a C3 checkpoint (default: the one that comes with c3)"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, as all else is said."""

    def error(self, message):
        name = self.prog.removeprefix("python -m ").split()[0]
        self.exit(USER_ERROR, f"{name}: error: {in_one_line(message)} (see {self.prog} --help)\n")


def positive(value):
    """An argparse type: a whole number of 1 or more."""
    if (number := int(value)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return number


def ratio_of_one_or_more(value):
    """An argparse type: a compression ratio."""
    if not (math.isfinite(ratio := float(value)) and ratio >= 1):
        raise argparse.ArgumentTypeError(f"a ratio is a number of 1 or more, not {value}")
    return ratio
