"""Threads that own a SQLite connection each and work through what the event loop hands them, in groups."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar
from weakref import WeakSet

from mesh import telemetry
from mesh.errors import Failure
from mesh.records.errors import Busy, InDoubt, StoreUnavailable

# Operations that may wait; more are refused as Busy.
QUEUE_MAX = 20_000
# Operations committed, or answered, together.
GROUP_MAX = 512

_lanes: WeakSet[Lane] = WeakSet()


def _lengths() -> Iterator[tuple[float, dict[str, str]]]:
    for lane in tuple(_lanes):
        yield lane.waiting, {"db.operation.name": lane.operation}


telemetry.observed(
    "records.queue", "Operations on records that wait for their result, SQLite's.", _lengths,
    unit="{operation}", by=("db.operation.name",),
)  # fmt: skip

Result = TypeVar("Result")
_Work = Callable[[sqlite3.Connection], object]


@dataclass(slots=True)
class _Job:
    work: _Work
    answer: asyncio.Future[object]
    outcome: object = None


class Lane:
    """Runs operations on a connection, off the event loop. Bound to the loop that started it.

    What its caller has given up, by the end of its time or otherwise, before it was begun, is not begun. With
    `commit`, operations that wait together are committed together. Each must be one changing statement:
    SQLite undoes a failed statement by itself, so a failure harms none of its group and needs no savepoint.
    """

    def __init__(
        self, name: str, connect: Callable[[], sqlite3.Connection], *, threads: int, commit: bool
    ) -> None:
        self._name = name
        self._connect = connect
        self._commit = commit
        self.operation = "write" if commit else "read"
        self._span_name = f"sqlite {self.operation}"
        self._attributes = {"db.system.name": "sqlite", "db.operation.name": self.operation}
        self._thread_count = threads
        self._threads: list[Thread] = []
        self._handed: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._gathered: list[_Job] = []
        # Operations that are not answered yet.
        self.waiting = 0
        self._open = False

    async def start(self) -> None:
        """Opens the connections. Raises StoreUnavailable, Busy."""
        self._loop = asyncio.get_running_loop()
        for number in range(self._thread_count):
            opened: asyncio.Future[object] = self._loop.create_future()
            thread = Thread(target=self._serve, args=(opened,), name=f"{self._name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
            await opened
        self._open = True
        _lanes.add(self)

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """The result of the operation, committed if the lane commits.

        Raises Busy, StoreUnavailable, InDoubt.
        """
        if not self._open:
            raise StoreUnavailable("the store is closed")
        if self.waiting >= QUEUE_MAX:
            raise Busy(f"{QUEUE_MAX} operations are waiting")
        answer: asyncio.Future[object] = self._loop.create_future()
        if not self._gathered:
            # All that the tasks of this turn of the loop ask for goes over in one piece.
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Job(work, answer))
        self.waiting += 1
        with telemetry.tracer.outgoing(self._span_name, self._attributes):
            result: Result = await answer  # type: ignore[assignment] # the answer to `work` is what `work` returned
        return result

    async def close(self) -> None:
        """Finishes what was asked for, then closes the connections."""
        self._open = False
        self._hand_over()
        for _ in self._threads:
            self._handed.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._threads.clear()

    def _hand_over(self) -> None:
        if self._gathered:
            self._handed.put(self._gathered)
            self._gathered = []

    def _settle(self, group: list[_Job]) -> None:
        self.waiting -= len(group)
        for job in group:
            if job.answer.done():
                continue  # its task was cancelled
            if isinstance(job.outcome, Exception):
                job.answer.set_exception(job.outcome)
            else:
                job.answer.set_result(job.outcome)

    # From here on: on a thread of the lane.

    def _serve(self, opened: asyncio.Future[object]) -> None:
        try:
            connection = self._connect()
        except Exception as problem:  # whatever it is, it answers the one who opens
            self._loop.call_soon_threadsafe(opened.set_exception, _failure(problem))
            return
        self._loop.call_soon_threadsafe(opened.set_result, None)
        try:
            while group := self._next_group():
                try:
                    self._work_through(connection, group)
                except BaseException as problem:  # whatever it is: a dead thread would let all wait for ever
                    self._give_up(connection, group, problem)
                try:
                    self._loop.call_soon_threadsafe(self._settle, group)
                except RuntimeError:
                    return  # the loop was closed under us: nobody is left to be answered
        finally:
            connection.close()

    def _next_group(self) -> list[_Job]:
        group = list(self._handed.get() or ())
        while group and len(group) < GROUP_MAX:
            try:
                more = self._handed.get_nowait()
            except Empty:
                break
            if more is None:
                self._handed.put(None)  # the call to stop, for the next turn
                break
            group += more
        return group

    def _give_up(self, connection: sqlite3.Connection, group: list[_Job], problem: BaseException) -> None:
        """Fails all that have no failure yet: of a write nobody knows what became of it."""
        with suppress(sqlite3.Error):
            _roll_back(connection)
        kind = InDoubt if self._commit else StoreUnavailable
        for job in group:
            if not isinstance(job.outcome, Exception):
                job.outcome = kind(_told(problem))

    def _work_through(self, connection: sqlite3.Connection, group: list[_Job]) -> None:
        group = [job for job in group if not job.answer.cancelled()]
        if not group:
            return
        if not self._commit:
            for job in group:
                job.outcome = _outcome(connection, job.work)
            return
        if not _commit_together(connection, group) and len(group) > 1:
            for job in group:
                _commit_together(connection, [job])


def _commit_together(connection: sqlite3.Connection, group: list[_Job]) -> bool:
    """False when the database itself failed under one of them: nothing was changed, all outcomes say so."""
    broken: sqlite3.Error | None = None
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job in group:
            try:
                job.outcome = job.work(connection)
            except sqlite3.Error:
                raise
            except Exception as failure:  # whatever it is, it answers the one who asked
                job.outcome = _answerable(failure)
    except sqlite3.Error as problem:
        broken = problem
    if broken is not None:
        _roll_back(connection)
        for job in group:
            job.outcome = _failure(broken)
        return False
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as problem:
        _roll_back(connection)
        for job in group:
            if not isinstance(job.outcome, Exception):
                job.outcome = InDoubt(f"commit failed: {problem}")
    return True


def _outcome(connection: sqlite3.Connection, work: _Work) -> object:
    try:
        return work(connection)
    except sqlite3.Error as problem:
        return _failure(problem)
    except Exception as failure:  # whatever it is, it answers the one who asked
        return _answerable(failure)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _answerable(failure: Exception) -> Exception:
    """A future takes no StopIteration."""
    return StoreUnavailable(_told(failure)) if isinstance(failure, StopIteration) else failure


def _failure(problem: Exception) -> Failure:
    # What Python's own sqlite3 raises, rather than SQLite, has no code.
    code = getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy("another process holds the file's lock")
    return StoreUnavailable(_told(problem))


def _told(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"
