"""Arguments of commands."""

import argparse

from c3.quoting_c3 import in_one_line

from .errors import USER_ERROR

MODEL_HELP = "folder or Hub id of a C3 checkpoint (default: the one that comes with c3)"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, as all else is said."""

    def error(self, message):
        name = self.prog.removeprefix("python -m ").split()[0]
        self.exit(USER_ERROR, f"{name}: error: {in_one_line(message)} (see {self.prog} --help)\n")
