"""What Envoys need of the kernel is asked for before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import watches
from sandbox.process import SandboxFailure


def test_too_few_watches_are_told_with_what_helps() -> None:
    limit = int(watches.LIMIT.read_text())
    with pytest.raises(SandboxFailure, match=f"of your {limit} are left.*fs.inotify.max_user_instances="):
        watches.require_watches(limit)


def test_those_that_were_tried_are_given_back() -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    watches._left(10)
    assert len(list(descriptors.iterdir())) <= before
