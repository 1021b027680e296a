"""What users saw, phase by phase, and the table of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COLUMNS = (
    f"{'what happened':34} {'leader back':>11} {'requests':>8} {'again':>5} {'failed':>6} {'slowest':>8}"
)


@dataclass
class Phase:
    """What happened, and how users' requests fared that began meanwhile."""

    name: str
    done: int = 0
    # Sent again by the client, as its documentation says, by what was sent and why.
    again: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    leader_back_s: float | None = None
    # Whether instances were asked to end, and whether of that part one leads.
    is_gentle: bool = False
    leads_alone: bool = False

    def fails(self, problem: str) -> None:
        """A request of a user's failed for good."""
        self.failed.append(problem)
        print(f"    FAILED  {problem}", flush=True)

    def row(self) -> str:
        """A line of the table."""
        back = "" if self.leader_back_s is None else f"{self.leader_back_s:.1f} s"
        seconds, what = self.slowest
        return (
            f"{self.name:34} {back:>11} {self.done:8} {self.again.total():5} {len(self.failed):6} "
            f"{seconds:6.1f} s {what}"
        )


class Tally:
    """All phases; requests count for the one that they begin in."""

    def __init__(self) -> None:
        self.phases = [Phase("before")]

    @property
    def now(self) -> Phase:
        """The one under way."""
        return self.phases[-1]

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """What happens within the block; what comes behind it is quiet."""
        found = Phase(name)
        self.phases.append(found)
        yield found
        self.phases.append(Phase(f"behind {name}"))

    def table(self) -> str:
        """All of them, and why requests were sent again or failed."""
        lines = [COLUMNS]
        for phase in self.phases:
            if phase.done or phase.failed:
                lines.append(phase.row())
            lines += [f"    again {count:3}  {why}" for why, count in phase.again.most_common()]
            lines += [f"    FAILED  {problem}" for problem in phase.failed]
        return "\n".join(lines)
