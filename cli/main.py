"""
The command line: `c3 COMMAND …`, see `COMMANDS` and `own_parsers.py`.

Results go to standard output, progress and errors to standard error; `support/errors.py` has the exit codes. torch and
transformers are imported inside the commands, so that `c3 --help` answers at once.
"""

import os
import sys

from c3.support.allocator import keep_freed_memory
from c3.support.arguments import Parser
from c3.support.errors import STANDARD_OUTPUT, UserError, one_line_errors
from c3.support.termination import cleaned_up_when_terminated
from c3.version_c3 import VERSION

from . import ask, compress, compress_dataset, convert, data, demo, expand, export_decoder, generate, info, serve
from .own_parsers import OWN_PARSERS

PROG = "c3"
# Modules with a `SUMMARY`, `add_arguments(parser)` and `run(args)`, which returns an exit code or nothing.
COMMANDS = {
    "demo": demo,
    "compress": compress,
    "compress-dataset": compress_dataset,
    "expand": expand,
    "info": info,
    "generate": generate,
    "ask": ask,
    "serve": serve,
    "convert": convert,
    "export-decoder": export_decoder,
    "data": data,
}
SMALLER_BATCH = "try a smaller --batch-size"


@cleaned_up_when_terminated()
def main(argv=None):
    """Runs one command, `argv` or the process's arguments; returns its exit code."""
    _use_utf8()
    try:
        with one_line_errors(PROG):
            _check_streams()
            return _run(sys.argv[1:] if argv is None else list(argv)) or 0
    except SystemExit as end:  # also argparse's: --help, --version, a command line it cannot read; SIGTERM's
        return end.code


def _run(argv):
    if argv[:1] and argv[0] in OWN_PARSERS:
        return OWN_PARSERS[argv[0]].run(argv[1:], f"{PROG} {argv[0]}")
    args = _parser().parse_args(argv)
    with one_line_errors(PROG, args.debug, SMALLER_BATCH if hasattr(args, "batch_size") else None):
        # The process is ours: on a CPU, encoding is a quarter faster (docs/performance.md).
        keep_freed_memory()
        return COMMANDS[args.command].run(args)


def _parser():
    parser = Parser(prog=PROG, description="Context Cascade Compression: texts to a few latent vectors, and back.")
    parser.add_argument("--version", action="version", version=f"c3 {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY))
    for name, command in OWN_PARSERS.items():
        commands.add_parser(name, help=command.summary, add_help=False)
    return parser


def _use_utf8():
    """Text goes in and out as UTF-8 with its own line ends, whatever the locale and the platform."""
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=errors, newline="")


def _check_streams():
    """Before files are opened, which would take their places."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  `print` would take None for standard output
    if sys.stdout is None:
        raise UserError(f"{STANDARD_OUTPUT} is closed: send to /dev/null what is not wanted")


if __name__ == "__main__":
    sys.exit(main())
