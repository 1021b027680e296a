"""`make bench-chain`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import uvloop
from bsv.native import NATIVE_AVAILABLE

from bench.chain import blocks, node, payments, proofs, signatures, table
from bench.chain.plan import FULL, QUICK, Plan
from bench.chain.samples import Results, Sample
from bench.command import asked_for, measuring
from bench.document import circumstances

COMMAND = "make bench-chain"
KINDS: dict[str, Callable[[Plan], Iterator[Sample]]] = {
    "payments": payments.samples,
    "blocks": blocks.samples,
    "proofs": proofs.samples,
    "signatures": signatures.samples,
}
NODE = "node"


def measure(plan: Plan, kinds: tuple[str, ...]) -> Results:
    """Measures these kinds, one after another."""
    results = Results()
    for kind in kinds:
        with measuring(kind, results.failed):
            if kind == NODE:
                uvloop.run(_deliver(plan, results))
            else:
                results.samples += KINDS[kind](plan)
    return results


async def _deliver(plan: Plan, results: Results) -> None:
    async for delivery in node.deliveries(plan):
        results.deliveries.append(delivery)


def main() -> None:
    """Measures, prints, and writes what a whole run found."""
    if not NATIVE_AVAILABLE:
        raise SystemExit("bsv-sdk lacks its native extension: nothing of this would say anything")
    asked = asked_for(COMMAND, __doc__, (*KINDS, NODE))
    results = measure(QUICK if asked.is_quick else FULL, asked.kinds)
    results.notes.append(circumstances(asked.load_before, "all of it"))
    asked.tell(table.rendered(results), results.failed)


if __name__ == "__main__":
    main()
