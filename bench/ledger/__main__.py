"""`make bench-ledger`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

import uvloop

from bench.document import circumstances, write
from bench.ledger import table
from bench.ledger.plan import FULL, QUICK, Plan
from bench.ledger.results import Results
from bench.ledger.runs import Runs
from bench.ledger.site import running_site

COMMAND = "make bench-ledger"
KINDS = ("singles", "batches", "metering", "two_updates", "postgres", "idle")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a little of each within a minute; writes nothing"
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="some runs; writes nothing")
    return parser.parse_args()


async def measure(plan: Plan, kinds: tuple[str, ...]) -> Results:
    """Runs these kinds, one after another; one that fails takes no figures from the others."""
    results = Results()
    async with running_site() as site:
        runs = Runs(site, plan, results)
        for kind in kinds:
            begun_s = time.perf_counter()
            run: Callable[[], Awaitable[None]] = getattr(runs, kind)
            try:
                await run()
            except Exception:
                traceback.print_exc()
                results.failed.append(kind)
            print(f"{kind}: {time.perf_counter() - begun_s:.0f} s", file=sys.stderr)
    return results


def main() -> None:
    """Measures, prints, and writes what a whole run found."""
    asked = _arguments()
    plan = QUICK if asked.quick else FULL
    load_before = os.getloadavg()[0]
    results = uvloop.run(measure(plan, tuple(asked.only)))
    results.notes.insert(0, circumstances(load_before, "servers and clients"))
    text = table.rendered(results)
    print(text)
    if results.failed:
        raise SystemExit(f"failed: {', '.join(results.failed)}; nothing is written")
    if not asked.quick and set(asked.only) == set(KINDS):
        write(text, COMMAND)


if __name__ == "__main__":
    main()
