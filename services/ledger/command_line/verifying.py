"""`verify`: is everything there?"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace

from services.ledger.app.verify import Finding, verify
from services.ledger.command_line.command import WRONG_BOOKS, Command, Root

TELL_EVERY_S = 2.0


def run(root: Root, _: Namespace) -> int:
    """Replays the whole journal, from the archive on, changing nothing, and checks: the chain of hashes, that
    every record replays to the same answers, that each asset sums to zero, that no guarded account is below
    zero, that balances are what postings and holds make them; and that the history and every snapshot are
    what the journal makes. Tells on standard error how far it is. May run beside the service. Exits with 0
    when all is well, else with 1.
    """
    found = asyncio.run(_find(root))
    sys.stdout.write(_shown(found))
    return WRONG_BOOKS if found.problems else 0


VERIFY = Command("verify", "replay the whole journal and check every invariant", run)


async def _find(root: Root) -> Finding:
    async with root.open() as stored:
        return await verify(stored, _Progress().tell)


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
