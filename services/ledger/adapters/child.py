"""A snapshot taken by a process of its own, so that the writer does not pause for it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT, Process

from services.ledger.app.keeping import SnapshotFailed

COMMAND = (sys.executable, "-m", "services.ledger", "snapshot")
WITHIN_S = 3_600.0
STOP_WITHIN_S = 5.0
TOLD_MAX = 2_000


async def take_snapshot() -> str:
    """Runs the command in this process's environment; returns what it printed. Raises SnapshotFailed.

    When cancelled it ends the process before it returns.
    """
    try:
        process = await asyncio.create_subprocess_exec(*COMMAND, stdout=PIPE, stderr=STDOUT)
    except OSError as problem:  # no memory or no process to be had: the ledger goes on without
        raise SnapshotFailed(f"it cannot be started: {problem}") from problem
    try:
        async with asyncio.timeout(WITHIN_S):
            told, _ = await process.communicate()
    except TimeoutError as problem:
        raise SnapshotFailed(f"it took more than {WITHIN_S:.0f} s") from problem
    finally:
        await _end(process)
    text = told.decode(errors="replace").strip()[-TOLD_MAX:]
    if process.returncode:
        raise SnapshotFailed(f"exit code {process.returncode}: {text}")
    return text


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
