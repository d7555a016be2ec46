"""`c3 convert`: a checkpoint in the layout of the authors of C3 to this package's, or back."""

from c3.quoting_c3 import printable
from c3.support.arguments import file_name

from .model_options import add_debug

SUMMARY = "the authors' released checkpoint to this package's layout, or back"


def add_arguments(parser):
    add_debug(parser)
    parser.add_argument("source", type=file_name, metavar="SOURCE", help="folder or Hub id of the checkpoint")
    about = "folder to make; only an empty one may be there"
    parser.add_argument("output", type=file_name, metavar="OUTPUT", help=about)
    parser.add_argument("--to-authors", action="store_true", help="from this package's layout to the authors'")


def run(args):
    """Prints what was written."""
    if args.to_authors:
        from c3.convert.to_authors import convert_to_authors as convert
    else:
        from c3.convert.from_authors import convert_from_authors as convert
    for line in convert(args.source, args.output):
        print(printable(line))
