"""What a run tells a person: steps as they happen, and checks that hold or do not."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

_GREEN, _RED, _DIM, _BOLD, _PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[1m", "\033[0m"


@dataclass(slots=True)
class Report:
    """Prints as it goes; `holds` says whether every check did."""

    begun_s: float = field(default_factory=time.monotonic)
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    colours: bool = field(default_factory=sys.stdout.isatty)

    @property
    def holds(self) -> bool:
        """Whether there were checks, and all of them held."""
        return bool(self.passed) and not self.failed

    def title(self, text: str) -> None:
        """A new part of the story."""
        self._print(f"\n{self._paint(_BOLD, text)}")

    def step(self, text: str) -> None:
        """Something happened."""
        since_s = time.monotonic() - self.begun_s
        self._print(f"{self._paint(_DIM, f'{since_s:6.1f} s')}  {text}")

    def check(self, claim: str, held: bool, found: object = "") -> None:
        """A claim that must hold; `found` is shown when it does not."""
        (self.passed if held else self.failed).append(claim)
        mark = self._paint(_GREEN, "ok  ") if held else self._paint(_RED, "FAIL")
        self._print(f"   {mark}   {claim}" + ("" if held else f": found {found}"))

    def summary(self) -> None:
        """How many held."""
        total = len(self.passed) + len(self.failed)
        self.title(f"{len(self.passed)} of {total} checks hold")
        for claim in self.failed:
            self._print(f"   {self._paint(_RED, 'FAIL')}   {claim}")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self.colours else text

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)
