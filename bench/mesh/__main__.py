"""`make bench-mesh`: prints the tables and writes them into docs/PERFORMANCE.md; `--quick` only prints."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from bench.command import asked_for, measuring
from bench.document import circumstances
from bench.mesh import ways
from bench.mesh.load import Seen, measured
from bench.mesh.plan import FULL, QUICK, Plan
from bench.mesh.site import standing
from bench.mesh.table import rendered

COMMAND = "make bench-mesh"
# Part of the traces that is kept, by what it is called.
TRACED = {"not traced": None, "one in twenty kept": 0.05, "all kept": 1.0}


async def _edge(plan: Plan, folder: Path) -> list[Seen]:
    async with standing(folder) as site:
        return await measured(ways.by_the_edge(site), plan)


async def _sidecars(plan: Plan, folder: Path) -> list[Seen]:
    async with standing(folder, sidecars=True) as site:
        return await measured(ways.by_sidecars(site), plan)


async def _tracing(plan: Plan, folder: Path) -> list[Seen]:
    async with AsyncExitStack() as stack:
        sites = {
            name: await stack.enter_async_context(standing(folder / str(number), traced=ratio))
            for number, (name, ratio) in enumerate(TRACED.items())
        }
        return await measured(ways.traced(sites), plan)


KINDS: dict[str, Callable[[Plan, Path], Awaitable[list[Seen]]]] = {
    "edge": _edge,
    "sidecars": _sidecars,
    "tracing": _tracing,
}


async def measure(plan: Plan, kinds: tuple[str, ...], failed: list[str]) -> dict[str, list[Seen]]:
    """Measures these kinds, one after another."""
    found: dict[str, list[Seen]] = {}
    for kind in kinds:
        with measuring(kind, failed), tempfile.TemporaryDirectory(prefix="satreel-bench-") as folder:
            found[kind] = await KINDS[kind](plan, Path(folder))
    return found


def main() -> None:
    """Measures, prints, and writes what a whole run found."""
    asked, failed = asked_for(COMMAND, __doc__, KINDS), list[str]()
    plan = QUICK if asked.is_quick else FULL
    found = uvloop.run(measure(plan, asked.kinds, failed))
    how = (
        f"CPU with {plan.at_once} calls under way at once, on as many connections; time of one at a time; "
        "medians, the ways in turn"
    )
    notes = [circumstances(asked.load_before, "all processes and the caller"), how]
    asked.tell(rendered(found, notes), failed)


if __name__ == "__main__":
    main()
