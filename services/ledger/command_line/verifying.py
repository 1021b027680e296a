"""`verify`: is everything there?"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from services.ledger.app.journal import Head
from services.ledger.app.verify import Finding, verify
from services.ledger.command_line.command import WRONG_BOOKS, Command, Root

TELL_EVERY_S = 2.0
_HEAD = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{64})")


def run(root: Root, asked: Namespace) -> int:
    """Replays the whole journal, from the archive on, changing nothing, and checks: the chain of hashes, that
    every record replays to the same answers, that each asset sums to zero, that no guarded account is below
    zero, that balances are what postings and holds make them; and that the history and every snapshot are
    what the journal makes. That newest records are gone which no snapshot names, only somebody can tell who
    knows of them: give with --head what this command, or GetTotals, told before. Tells on standard error how
    far it is. May run beside the service. Exits with 0 when all is well, with 1 when something is wrong, with
    2 when there is no ledger.
    """
    found = asyncio.run(_find(root, asked.head))
    sys.stdout.write(f"store     {root.place()}\n{_shown(found)}")
    return WRONG_BOOKS if found.problems else 0


def head_of(text: str) -> Head:
    """The head that "SEQUENCE:HASH" names."""
    match = _HEAD.fullmatch(text.lower())
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not SEQUENCE:HASH, a number and 64 hexadecimal digits")
    return Head(int(match[1]), bytes.fromhex(match[2]))


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--head",
        metavar="SEQUENCE:HASH",
        type=head_of,
        help="a record that must be there: `head` of an earlier run, or journal_sequence:journal_hash",
    )


VERIFY = Command("verify", "replay the whole journal and check every invariant", run, _arguments)


async def _find(root: Root, known: Head | None) -> Finding:
    async with root.open() as stored:
        return await verify(stored, _Progress().tell, known)


class _Progress:
    """Tells how far it is, now and then."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + TELL_EVERY_S

    def tell(self, done: int, of: int) -> None:
        """So many records of so many."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + TELL_EVERY_S
            sys.stderr.write(f"{done} of {max(of, done)} records, {100 * done // max(of, done)} %\n")


def _shown(found: Finding) -> str:
    totals = found.totals
    lines = [
        f"records   {found.head.sequence}",
        f"hash      {found.head.hash.hex()}",
        f"head      {found.head.sequence}:{found.head.hash.hex()}",
        f"state     {found.state}",
        f"history   {found.pages} pages and {found.rounds} rounds are what the journal makes",
        f"snapshots {found.snapshots} are what the journal makes",
        f"postings  {totals.postings}",
        f"sum       {totals.sum} sat",
        f"users     {totals.users} sat",
        f"platform  {totals.platform} sat",
        f"rounds    {totals.rounds} sat",
        f"debts     {totals.debts} sat",
        f"coins     {totals.coins_owed} sat owed by the hot wallet",
        *(f"PROBLEM   {problem}" for problem in found.problems),
        "all is well" if not found.problems else f"{len(found.problems)} problems",
    ]
    return "\n".join(lines) + "\n"
