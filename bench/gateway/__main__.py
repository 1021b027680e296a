"""`make bench-gateway`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback

import uvloop

from bench.document import circumstances, write
from bench.gateway import deliveries, requests, table
from bench.gateway.plan import FULL, QUICK, Plan
from bench.gateway.results import Results
from bench.gateway.serving import running_site

COMMAND = "make bench-gateway"
KINDS = {"requests": requests, "subscriptions": deliveries}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a little of each within a minute; writes nothing"
    )
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="some runs; writes nothing")
    return parser.parse_args()


async def measure(plan: Plan, kinds: list[str]) -> Results:
    """Runs these kinds, one after another; one that fails takes no figures from the others."""
    results = Results()
    for kind in kinds:
        begun_s = time.perf_counter()
        try:
            async with running_site() as site:
                await KINDS[kind].run(site, plan, results)
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
    results = uvloop.run(measure(plan, list(asked.only)))
    results.notes.insert(0, circumstances(load_before, "gateways, services and clients"))
    text = table.rendered(results)
    print(text)
    if results.failed:
        raise SystemExit(f"failed: {', '.join(results.failed)}; nothing is written")
    if not asked.quick and set(asked.only) == set(KINDS):
        write(text, COMMAND)


if __name__ == "__main__":
    main()
