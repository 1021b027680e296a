"""`make bench-ledger`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import uvloop

from bench.command import asked_for, measuring
from bench.document import circumstances
from bench.ledger import table
from bench.ledger.plan import FULL, QUICK, Plan
from bench.ledger.results import Results
from bench.ledger.runs import Runs
from bench.ledger.site import running_site

COMMAND = "make bench-ledger"
KINDS = ("singles", "batches", "metering", "two_updates", "postgres", "idle")


async def measure(plan: Plan, kinds: tuple[str, ...]) -> Results:
    """Runs these kinds, one after another."""
    results = Results()
    async with running_site() as site:
        runs = Runs(site, plan, results)
        for kind in kinds:
            run: Callable[[], Awaitable[None]] = getattr(runs, kind)
            with measuring(kind, results.failed):
                await run()
    return results


def main() -> None:
    """Measures, prints, and writes what a whole run found."""
    asked = asked_for(COMMAND, __doc__, KINDS)
    results = uvloop.run(measure(QUICK if asked.is_quick else FULL, asked.kinds))
    results.notes.insert(0, circumstances(asked.load_before, "servers and clients"))
    asked.tell(table.rendered(results), results.failed)


if __name__ == "__main__":
    main()
