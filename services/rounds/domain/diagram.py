"""The state diagram in README.md, drawn from the transition table."""

from __future__ import annotations

import re

from services.rounds.domain.machine import TRANSITIONS
from services.rounds.domain.values import ENDED, State


def mermaid() -> str:
    """A Mermaid state diagram of the table."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.PENDING}"]
    for found in TRANSITIONS:
        event = re.sub(r"(?<!^)(?=[A-Z])", " ", found.event.__name__).lower()
        lines.append(f"    {found.source} --> {found.target}: {event} ({found.when})")
    lines += [f"    {state} --> [*]" for state in State if state in ENDED]
    return "\n".join(lines)
