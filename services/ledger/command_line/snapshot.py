"""`snapshot`: the state as it is now, so that the next start need not replay everything."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Iterator

from mesh.clock import SystemClock
from services.ledger.app.snapshotting import Taken, take
from services.ledger.command_line.command import Command, Root

# Whoever commits goes first.
NICENESS = 10


def run(root: Root, _: Namespace) -> int:
    """Takes a snapshot: loads the newest one, replays the journal behind it, writes the pages of the history
    that have become whole, and the state. Then it moves what no kept snapshot needs from the journal to the
    archive, and drops older snapshots. The leader does it by itself now and then. May run beside the service,
    and be interrupted at any time. Exits with 0,
    with 2 when there is no ledger.
    """
    os.nice(NICENESS)
    taken = asyncio.run(_take(root))
    sys.stdout.write("\n".join(_shown(taken)) + "\n")
    return 0


SNAPSHOT = Command("snapshot", "take a snapshot, write the history, archive what is older", run)


async def _take(root: Root) -> Taken:
    async with root.open_to_write() as stored:
        return await take(stored, SystemClock())


def _shown(taken: Taken) -> Iterator[str]:
    yield f"loaded    snapshot of record {taken.loaded.sequence} in {taken.load_s:.2f} s"
    count = taken.head.sequence - taken.loaded.sequence
    yield f"replayed  {count} records in {taken.replay_s:.2f} s, up to record {taken.head.sequence}"
    yield f"history   postings up to {taken.written.postings}, sessions up to {taken.written.sessions}"
    if taken.snapshot is None:
        yield "snapshot  none: nothing was written since the last"
    else:
        size = taken.snapshot.size_bytes
        yield f"snapshot  {size} bytes in {taken.snapshot.parts} parts in {taken.save_s:.2f} s"
    moved = taken.moved
    yield f"archive   {moved.records} records copied ({moved.size_bytes} bytes), {moved.dropped} dropped"
    yield f"dropped   {taken.dropped} older snapshots"
