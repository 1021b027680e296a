"""`make bench-chain`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import uvloop
from bsv.native import NATIVE_AVAILABLE

from bench.chain import blocks, node, payments, proofs, signatures, table
from bench.chain.plan import FULL, QUICK, Plan
from bench.chain.samples import Results, Sample
from bench.document import circumstances, write

COMMAND = "make bench-chain"
KINDS: dict[str, Callable[[Plan], Iterator[Sample]]] = {
    "payments": payments.samples,
    "blocks": blocks.samples,
    "proofs": proofs.samples,
    "signatures": signatures.samples,
}
NODE = "node"
ALL = (*KINDS, NODE)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chain", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a little of each; writes nothing")
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, help="some; writes nothing")
    return parser.parse_args()


def measure(plan: Plan, kinds: tuple[str, ...]) -> Results:
    """Measures these kinds, one after another; one that fails takes no figures from the others."""
    results = Results()
    for kind in kinds:
        begun_s = time.perf_counter()
        try:
            if kind == NODE:
                uvloop.run(_deliver(plan, results))
            else:
                results.samples += KINDS[kind](plan)
        except Exception:
            traceback.print_exc()
            results.failed.append(kind)
        print(f"{kind}: {time.perf_counter() - begun_s:.0f} s", file=sys.stderr)
    return results


async def _deliver(plan: Plan, results: Results) -> None:
    async for delivery in node.deliveries(plan):
        results.deliveries.append(delivery)


def main() -> None:
    """Measures, prints, and writes what a whole run found."""
    if not NATIVE_AVAILABLE:
        raise SystemExit("bsv-sdk lacks its native extension: nothing of this would say anything")
    asked = _arguments()
    load_before = os.getloadavg()[0]
    results = measure(QUICK if asked.quick else FULL, tuple(asked.only))
    results.notes.append(circumstances(load_before, "all of it"))
    text = table.rendered(results)
    print(text)
    if results.failed:
        raise SystemExit(f"failed: {', '.join(results.failed)}; nothing is written")
    if not asked.quick and set(asked.only) == set(ALL):
        write(text, COMMAND)


if __name__ == "__main__":
    main()
