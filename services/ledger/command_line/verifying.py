"""`verify`: is everything there?"""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace

from services.ledger.app.archive import WholeJournal
from services.ledger.app.verify import Finding, verify
from services.ledger.command_line.command import WRONG_BOOKS, Command, Root


def run(root: Root, _: Namespace) -> int:
    """Replays the whole journal, changing nothing, and checks: the chain of hashes, that every record replays
    to the same answers, that each asset sums to zero, that no guarded account is below zero, that balances
    are what postings and holds make them. May run beside the service. Exits with 0 when all is well, else
    with 1.
    """
    found = asyncio.run(_find(root))
    sys.stdout.write(_shown(found))
    return WRONG_BOOKS if found.problems else 0


VERIFY = Command("verify", "replay the whole journal and check every invariant", run)


async def _find(root: Root) -> Finding:
    async with root.open() as stored:
        return await verify(WholeJournal(stored.journal, stored.archive))


def _shown(found: Finding) -> str:
    totals = found.totals
    lines = [
        f"records   {found.head.sequence}",
        f"hash      {found.head.hash.hex()}",
        f"state     {found.digest}",
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
