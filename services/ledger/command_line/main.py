"""Reads the arguments and runs the sub-command they name; tells in one line why something cannot be done."""

from __future__ import annotations

import inspect
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from mesh import config
from mesh.errors import Failure
from services.ledger.app.journal import JournalBroken
from services.ledger.command_line import records, snapshot, verifying
from services.ledger.command_line.command import UNANSWERED, Command, Root, Unanswered
from services.ledger.config import LedgerSettings


def main(root: Root, arguments: Sequence[str]) -> int:
    """The exit code: 0 all is well, WRONG_BOOKS, or UNANSWERED (also of wrong arguments and settings)."""
    asked = _parser().parse_args(arguments)
    command: Command = asked.command
    try:
        code = command.run(root, asked)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough; Python would complain of it at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        return _tell(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))
    except (Unanswered, Failure, JournalBroken) as problem:
        return _tell(str(problem))
    return code


def _tell(why: str) -> int:
    sys.stderr.write(f"satreel-ledger: {why}\n")
    return UNANSWERED


def serve(root: Root, _: Namespace) -> int:
    """Runs the service until it is stopped."""
    root.serve()
    return 0


SERVE = Command("serve", "run the service; so does no command at all", serve, shows_settings=True)
COMMANDS = (SERVE, snapshot.SNAPSHOT, verifying.VERIFY, records.EXPORT, records.EXPLAIN)


WHERE = """\
Where the ledger is, the settings say, as of `satreel-ledger serve --help`: give those of the service.
SATREEL_DATA_DIR is the data folder; `make run` uses SATREEL_DATA_DIR=.satreel/data.
"""


def _parser() -> ArgumentParser:
    settings = config.describe(LedgerSettings)
    parser = ArgumentParser(
        prog="satreel-ledger",
        description="The ledger of Satreel: the service, and what can be asked of its journal.",
        epilog=settings,
        formatter_class=_Help,
    )
    parser.set_defaults(command=SERVE)
    known = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        sub = known.add_parser(
            command.name,
            help=command.about,
            description=inspect.getdoc(command.run),
            epilog=settings if command.shows_settings else WHERE,
            formatter_class=_Help,
        )
        command.arguments(sub)
        sub.set_defaults(command=command)
    return parser


class _Help(RawDescriptionHelpFormatter):
    """As wide as our texts are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=20, width=110)
