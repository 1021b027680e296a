"""One process per instance name: whoever holds the lock may void the leases of those who held it before."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class InstanceTaken(Exception):  # noqa: N818 - the message is for the operator
    """Another process runs under this instance's name."""


@asynccontextmanager
async def sole_instance(path: Path) -> AsyncIterator[None]:
    """Holds the lock file within the block; it is free when the process dies. Raises InstanceTaken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise InstanceTaken(
                f"{path} is held by another process: give each its own SATREEL_CONTENT_INSTANCE"
            ) from problem
        yield
