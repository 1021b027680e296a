"""Keys stay in memory: the process leaves no core file, and others of its user cannot look into it."""

from __future__ import annotations

import ctypes
import resource

PR_SET_DUMPABLE = 4
"""Of Linux's prctl(2): also where core files are piped to a program, which no limit holds back."""


def shut() -> None:
    """For the rest of the process; to be called before any key is read."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if (prctl := getattr(ctypes.CDLL(None), "prctl", None)) is not None:
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
