"""Keys that are fetched together, and who waits for each: the last one who leaves ends the call."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Hashable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from opentelemetry.trace import SpanContext

from mesh.errors import Unavailable

Key = TypeVar("Key", bound=Hashable)


class Work(Protocol):
    """A task, as far as it matters here."""

    def cancelling(self) -> int:
        """Whether it is to end."""


class CurrentTask:
    """The task that works now, as `Work`, and not kept alive: it may know who holds this."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        """Raises RuntimeError outside of a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task works here")
        self._task = weakref.ref(task)

    def cancelling(self) -> int:
        """Whether it is to end, or has."""
        task = self._task()
        return 1 if task is None else task.cancelling()


class Answer(asyncio.Future[Any]):
    """What a task is told of a key; several parts of its work may wait for it.

    None of these can cancel it for the others: it ends when the task does.
    """

    __slots__ = ("batch", "work")

    # Set by who makes it: a constructor in Python would cost half as much as all else.
    batch: Batch[Any]
    work: Work

    def cancel(self, msg: Any | None = None) -> bool:
        """Refused while the task goes on: then who waits is cancelled as soon as the answer is there."""
        if not self.work.cancelling() or not super().cancel(msg):
            return False
        self.batch.left()
        return True


class Batch(Generic[Key]):
    """Keys that are fetched together, with the answers that are waited for."""

    __slots__ = ("answers", "askers", "task", "waiting")

    def __init__(self) -> None:
        self.answers: dict[Key, list[Answer]] = {}
        self.askers: list[SpanContext] = []
        # Answers that have not been given up.
        self.waiting = 0
        # None: it has not been sent.
        self.task: asyncio.Task[None] | None = None

    def ask(self, key: Key, work: Work) -> Answer:
        """For one more."""
        answer = Answer()
        answer.batch, answer.work = self, work
        same = self.answers.get(key)
        if same is None:
            self.answers[key] = [answer]
        else:
            same.append(answer)
        self.waiting += 1
        return answer

    def left(self) -> None:
        """One less; with the last one it ends."""
        self.waiting -= 1
        if not self.waiting and self.task is not None:
            self.task.cancel()

    def wanted(self) -> list[Key]:
        """Keys that somebody waits for."""
        if self.waiting == sum(map(len, self.answers.values())):
            return list(self.answers)
        return [key for key, answers in self.answers.items() if not all(one.done() for one in answers)]

    def answer(self, found: Mapping[Key, Any]) -> None:
        """Tells all."""
        for key, answers in self.answers.items():
            value = found.get(key)
            for one in answers:
                if not one.done():
                    one.set_result(value)

    def fail(self, failure: Exception) -> None:
        """Tells all."""
        for answers in self.answers.values():
            for one in answers:
                if not one.done():
                    one.set_exception(failure)
                    # Who is cancelled in this turn of the loop will not hear of it.
                    one.exception()

    def over(self, was_cancelled: bool = False) -> None:
        """Nobody is told anything any more."""
        if was_cancelled:
            # Nothing else would end those who wait.
            self.fail(Unavailable("the process is stopping"))
        # They know their batch.
        self.answers = {}
