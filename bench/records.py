"""What a store costs: `python -m bench.records` prints operations a second and the CPU time of each."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from mesh.records import Bins, SetSpec, Store
from mesh.records.sqlite import open_sqlite

TASKS = 64
OPERATIONS = 40_000
SETS = (SetSpec("plain"), SetSpec("indexed", indexes={"state": str}))

Operation = Callable[[int], Awaitable[object]]


async def measure(name: str, operation: Operation, *, tasks: int, operations: int) -> None:
    """Runs the operation from many tasks and prints one line of the table."""
    numbers = iter(range(operations))

    async def work() -> None:
        for number in numbers:
            await operation(number)

    wall, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sys.stdout.write(f"{name:<28}{tasks:>6}{operations / wall:>12,.0f}{cpu / operations * 1e6:>12.1f}\n")


async def run(store: Store) -> None:
    """Prints the table."""
    sys.stdout.write(f"{'operation':<28}{'tasks':>6}{'per s':>12}{'CPU µs':>12}\n")
    big: Bins = {"body": bytes(2**19)}
    bins: Bins = {"state": "open", "owner": "019a0000-0000-7000-8000-000000000000", "amount_sats": 123_456}

    async def put(number: int) -> None:
        await store.put_if("plain", f"{number:020d}", bins, 1)

    async def get_many(number: int) -> None:
        await store.get_many("plain", [f"{number * 100 + i:020d}" for i in range(100)])

    many = OPERATIONS
    for name, operation, tasks, operations in (
        ("create", lambda n: store.create("plain", f"{n:020d}", bins), TASKS, many),
        ("create, one index", lambda n: store.create("indexed", f"{n:020d}", bins), TASKS, many),
        ("put_if", put, TASKS, many),
        ("get", lambda n: store.get("plain", f"{n:020d}"), TASKS, many),
        ("get_many of 100", get_many, 8, many // 100),
        ("query_eq, page of 100", lambda _: store.query_eq("indexed", "state", "open", limit=100), 8, 400),
        ("create, one task", lambda n: store.create("plain", f"one-{n}", bins), 1, 1_000),
        ("get, one task", lambda n: store.get("plain", f"one-{n}"), 1, 1_000),
        ("create 512 KiB, one task", lambda n: store.create("plain", f"big-{n}", big), 1, 50),
    ):
        await measure(name, operation, tasks=tasks, operations=operations)


async def main() -> None:
    """Measures SQLite in a fresh temporary file."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_sqlite(Path(folder) / "bench.sqlite", SETS) as store:
            await run(store)


if __name__ == "__main__":
    uvloop.run(main())
