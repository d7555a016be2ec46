"""`c3 data`: makes data, a kind each."""

from . import questions

SUMMARY = "make data: questions about texts of your own"
# As the commands in `main.py`.
KINDS = {"questions": questions}


def add_arguments(parser):
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, kind in KINDS.items():
        kind.add_arguments(kinds.add_parser(name, help=kind.SUMMARY, description=kind.SUMMARY))


def run(args):
    return KINDS[args.kind].run(args)
