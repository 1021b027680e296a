"""Envoys watch their files, each by inotify instances of its own, of which Linux gives a user few."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

from sandbox.process import SandboxFailure

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
# A sidecar has four, the edge seven.
EACH, EDGE = 4, 7


def require_watches(sidecars: int) -> None:
    """Raises SandboxFailure when this user has too few left for an edge and so many sidecars."""
    needed = EDGE + EACH * sidecars
    if sys.platform.startswith("linux") and (left := _left(needed)) < needed:
        limit = LIMIT.read_text().strip()
        raise SandboxFailure(
            f"The Envoys watch their files by {needed} inotify instances; {left} of your {limit} are left. "
            f"End other programs that watch files, or: sudo sysctl fs.inotify.max_user_instances=1024"
        )


def _left(wanted: int) -> int:
    """How many there are, up to those wanted; they are only tried."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as opened:
        for count in range(wanted):
            descriptor = libc.inotify_init1(os.O_CLOEXEC)
            if descriptor < 0:
                return count
            opened.callback(os.close, descriptor)
    return wanted
