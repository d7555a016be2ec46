"""Pushes a finished model, or pages for evaluation, to the Hub, as one commit.

c3 publish FOLDER OWNER/NAME [--private] [--revision BRANCH] [--message TEXT]
c3 publish --dataset PAGES OWNER/NAME [--dry-run]

With --dataset, PAGES is a .parquet file of pages for evaluation, or a folder of such files: they become a dataset
repository with a card, written from the rows, of licences, credits and sizes. Pages that may not be passed on are
refused.
"""

import argparse
from pathlib import Path

from c3.quoting_c3 import in_one_line, printable_lines
from c3.support.arguments import Parser
from c3.support.errors import UserError

from .hub_settings import HubSettings
from .push import check_can_publish, check_folder, publish
from .push_pages import MESSAGE, publish_pages


def push_command(argv, prog):
    """
    Pushes as the arguments (`list[str]`) say; `prog` is what the command is called.

    Raises:
        UserError: an argument that is not allowed, or pages that have no card.
        PublishError: the push would fail, or failed.
    """
    parser = Parser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="of a finished model; of pages with --dataset")
    parser.add_argument("repo_id", metavar="OWNER/NAME")
    parser.add_argument("--private", action="store_true", default=None, help="if the repository is new")
    parser.add_argument("--revision", help="a branch")
    parser.add_argument("--message", help="of the commit")
    parser.add_argument("--dataset", action="store_true", help="push pages for evaluation")
    parser.add_argument("--dry-run", action="store_true", help="print the card of --dataset, push nothing")
    arguments = parser.parse_args(argv)
    default = MESSAGE if arguments.dataset else HubSettings.commit_message
    message = default if arguments.message is None else arguments.message
    try:
        settings = HubSettings(arguments.repo_id, arguments.private, arguments.revision, message)
        if arguments.dataset:
            print(printable_lines(publish_pages(Path(arguments.folder), settings, arguments.dry_run)))
            return
    except (OSError, ValueError) as error:
        raise UserError(in_one_line(error)) from error
    if arguments.dry_run:
        raise UserError("--dry-run is for --dataset: it prints the card that is written for pages")
    check_folder(Path(arguments.folder))
    check_can_publish(settings)
    print(publish(arguments.folder, settings))
