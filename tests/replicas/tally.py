"""What users saw, phase by phase, and the table of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COLUMNS = (
    f"{'what happened':34} {'next leader':>11} {'requests':>8} {'again':>5} {'in flight':>9} {'late':>4} "
    f"{'failed':>6} {'slowest':>8}"
)


# Contracts give calls 8 s, of which the edge keeps a quarter to say that nobody leads.
ALL_THEIR_TIME_S = 7.5


@dataclass
class Phase:
    """What happened, and how users' requests fared."""

    name: str
    done: int = 0
    # Sent again by the client, as its documentation says, by what was sent and why; apart from those, what
    # was under way when one was killed, and what had waited for all of its time.
    again: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    leader_back_s: float | None = None
    # When somebody was dead who is killed in it (monotonic); None: nobody is.
    killed_s: float | None = None

    def sends_again(self, why: str, *, begun_s: float, ended_s: float) -> None:
        """A request of a user's is made anew, as this attempt was not answered."""
        if self.killed_s is not None and begun_s < self.killed_s:
            self.in_flight[why] += 1
        elif self.killed_s is not None and ended_s - begun_s > ALL_THEIR_TIME_S:
            self.late[why] += 1
        else:
            self.again[why] += 1

    def fails(self, problem: str) -> None:
        """A request of a user's failed for good."""
        self.failed.append(problem)
        print(f"    FAILED  {problem}", flush=True)

    def row(self) -> str:
        """A line of the table."""
        back = "" if self.leader_back_s is None else f"{self.leader_back_s:.2f} s"
        seconds, what = self.slowest
        return (
            f"{self.name:34} {back:>11} {self.done:8} {self.again.total():5} {self.in_flight.total():9} "
            f"{self.late.total():4} {len(self.failed):6} {seconds:6.1f} s {what}"
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
            counters = {"again": phase.again, "in flight": phase.in_flight, "late": phase.late}
            for kind, counter in counters.items():
                lines += [f"    {kind} {count:3}  {why}" for why, count in counter.most_common()]
            lines += [f"    FAILED  {problem}" for problem in phase.failed]
        return "\n".join(lines)
