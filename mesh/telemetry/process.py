"""What every process tells of itself: time, memory, threads, files, garbage, and how late its loop is."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

from mesh.telemetry.instruments import Kind, durations, observed

_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")
LOOK_EVERY_S = 0.5

_Values = Iterator[tuple[float, dict[str, str]]]


def _cpu_time() -> _Values:
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield used.ru_utime, {"cpu.mode": "user"}
    yield used.ru_stime, {"cpu.mode": "system"}


def _memory() -> _Values:
    if _STATM.exists():
        yield int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"), {}
    else:
        # Elsewhere than on Linux only the peak is told: in bytes on macOS.
        yield resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}


def _threads() -> _Values:
    yield threading.active_count(), {}


def _open_files() -> _Values:
    if _FILES.exists():
        yield sum(1 for _ in _FILES.iterdir()), {}


def _collections() -> _Values:
    for generation, told in enumerate(gc.get_stats()):
        yield told["collections"], {"cpython.gc.generation": str(generation)}


observed(
    "process.cpu.time", "CPU time used.", _cpu_time, unit="s", kind=Kind.COUNTER, by=("cpu.mode",)
)  # fmt: skip
observed(
    "process.memory.usage",
    "Memory held: resident, or its peak so far.",
    _memory,
    unit="By",
    kind=Kind.UP_DOWN,
)
observed("process.thread.count", "Threads.", _threads, unit="{thread}", kind=Kind.UP_DOWN)
observed(
    "process.unix.file_descriptor.count",
    "Open files, sockets among them.",
    _open_files,
    unit="{file_descriptor}",
    kind=Kind.UP_DOWN,
)
observed(
    "cpython.gc.collections",
    "Searches for garbage, each of which stops the process.",
    _collections,
    unit="{collection}",
    kind=Kind.COUNTER,
    by=("cpython.gc.generation",),
)
_lag = durations(
    "asyncio.loop.lag",
    f"How late the event loop is for what it shall do now, looked at every {LOOK_EVERY_S} s.",
)


async def watch_loop() -> None:
    """Measures until cancelled how late the loop is."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        _lag.record(max(0.0, loop.time() - due_s))
