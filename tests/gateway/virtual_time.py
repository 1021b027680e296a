"""An event loop whose time passes only when nothing else is to be done: waits cost none, in their order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Impatient(selectors.SelectSelector):
    """Skips the time that it would wait."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.skipped_s += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.skipped_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run does it."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
