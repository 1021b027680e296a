"""What was checked, what it said, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

FLAWS_SHOWN_MAX = 20


class Unanswered(Exception):  # noqa: N818 - an answer, not a fault
    """Why the question cannot be answered at all, for a person."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was seen when it holds, or what does not."""

    name: str
    said: str = ""
    flaws: tuple[str, ...] = ()


@dataclass(slots=True)
class Findings:
    """The checks in their order, and those that could not be made."""

    checks: list[Check] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def hold(self) -> bool:
        """Whether everything that was checked holds."""
        return not any(check.flaws for check in self.checks)

    def add(self, name: str, said: str = "", flaws: Iterable[str] = ()) -> bool:
        """Notes a check; whether it holds."""
        self.checks.append(Check(name, said, tuple(flaws)))
        return not self.checks[-1].flaws

    def leave_out(self, why: str, *names: str) -> None:
        """Notes checks that could not be made."""
        self.left_out += [(name, why) for name in names]


def differences(ours: object, theirs: object, where: str, sides: tuple[str, str]) -> list[str]:
    """Where two JSON values differ, each place in a line."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [*ours, *(key for key in theirs if key not in ours)]
        pairs = [(f"{where}.{key}", ours.get(key), theirs.get(key)) for key in keys]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(f"{where}[{at}]", one, theirs[at]) for at, one in enumerate(ours)]
    elif ours == theirs and type(ours) is type(theirs):
        return []
    else:
        return [f"{where}: {_shown(ours)} {sides[0]}, {_shown(theirs)} {sides[1]}"]
    return [line for path, one, other in pairs for line in differences(one, other, path, sides)]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} items"
    return "nothing" if value is None else f"{value!s:.80}"
