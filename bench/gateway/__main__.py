"""`make bench-gateway`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

import uvloop

from bench.command import asked_for, measuring
from bench.document import circumstances
from bench.gateway import deliveries, requests, table
from bench.gateway.plan import FULL, QUICK, Plan
from bench.gateway.results import Results
from bench.gateway.serving import running_site

COMMAND = "make bench-gateway"
KINDS = {"requests": requests, "subscriptions": deliveries}


async def measure(plan: Plan, kinds: tuple[str, ...]) -> Results:
    """Runs these kinds, one after another."""
    results = Results()
    for kind in kinds:
        with measuring(kind, results.failed):
            async with running_site() as site:
                await KINDS[kind].run(site, plan, results)
    return results


def main() -> None:
    """Measures, prints, and writes what a whole run found."""
    asked = asked_for(COMMAND, __doc__, KINDS)
    results = uvloop.run(measure(QUICK if asked.is_quick else FULL, asked.kinds))
    results.notes.insert(0, circumstances(asked.load_before, "gateways, services and clients"))
    asked.tell(table.rendered(results), results.failed)


if __name__ == "__main__":
    main()
