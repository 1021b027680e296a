"""The simulator can fail: ledgers that are broken on purpose, each found within a few seeds."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from mesh.clock import Clock
from mesh.records import Record, Store
from mesh.records.port import Bins
from services.ledger.app.journal import Draft, Entry, Fenced, Head, Journal
from services.ledger.app.orders import Order
from services.ledger.domain import shares
from services.ledger.domain.answers import APPLIED
from services.ledger.domain.commands import CreateTransfers, PostTransfers
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.shares import Entitlement, Parameters
from tests.simulation.instance import (
    JOURNAL_SET,
    Instance,
    NoAnswer,
    Outcome,
    Question,
    Reading,
    Seen,
    real_journal,
)
from tests.simulation.run import simulate
from tests.simulation.truth import Truth
from tests.simulation.world import Broken, Build

SEEDS_MAX = 40


class Altered:
    """A journal in front of the real one, right in everything until a test makes it wrong."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.journal = real_journal(store, clock)

    async def append(self, draft: Draft, behind: Head) -> Head:
        return await self.journal.append(draft, behind)

    async def has(self, head: Head) -> bool:
        return await self.journal.has(head)

    def read(self, behind: Head) -> AsyncIterator[Entry]:
        return self.journal.read(behind)


class Doubling(Altered):
    """Writes commands of a record twice."""

    async def append(self, draft: Draft, behind: Head) -> Head:
        return await super().append(replace(draft, commands=draft.commands * 2), behind)


class Unfenced(Altered):
    """Takes another leader's record for its own."""

    async def append(self, draft: Draft, behind: Head) -> Head:
        try:
            return await super().append(draft, behind)
        except Fenced:
            return Head(behind.sequence + 1, b"whatever stands there")


class WriteBehind(Altered):
    """Says that a record is durable as soon as it has been handed over."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(_Handing(store), clock)


class _Handing:
    """A store that answers creates of the journal at once and does them afterwards."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writing: set[asyncio.Task[int]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        writing = asyncio.create_task(self._store.create(set_name, key, bins))
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._writing.add(writing)
        return 1


class Hasty(Instance):
    """Answers transfers before they are committed."""

    async def submit(self, order: Order) -> Outcome:
        submitting = asyncio.ensure_future(super().submit(order))
        submitting.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not isinstance(order.command, CreateTransfers | PostTransfers):
            return await submitting
        await asyncio.sleep(0)
        if submitting.done():
            return await submitting
        command = order.command
        many = len(command.columns.ids if isinstance(command, PostTransfers) else command.transfers)
        return [APPLIED] * many


class Guessing(Instance):
    """Takes an unknown outcome for a refusal."""

    async def submit(self, order: Order) -> Outcome:
        try:
            return await super().submit(order)
        except NoAnswer:
            return Refused(Reason.INSUFFICIENT_FUNDS, "it did not work")


class Overconfident(Instance):
    """Answers questions for the leader whoever leads."""

    async def ask(self, question: Question[Seen], how: Reading = Reading.LEADER) -> Seen:
        return await super().ask(question, Reading.ANYWHERE)


class Losing(Truth):
    """Acknowledges a record of the journal now and then without keeping it."""

    creates = 0

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        self.creates += 1
        if set_name == JOURNAL_SET and self.creates % 50 == 0:
            return 1
        return await super().create(set_name, key, bins)


class Rotting(Truth):
    """Loses a record of the journal long after it was acknowledged and read."""

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        if set_name == JOURNAL_SET and len(self.sets[set_name]) == 60:
            del self.sets[set_name][min(self.sets[set_name])]
        return await super().create(set_name, key, bins)


class Editing(Truth):
    """Changes an old record of the journal."""

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        kept = self.sets[set_name]
        if set_name == JOURNAL_SET and len(kept) == 60:
            old = kept[min(kept)]
            data = bytearray(old.blob("data"))
            data[-1] ^= 1
            kept[old.key] = Record(old.key, {**old.bins, "data": bytes(data)}, old.generation)
        return await super().create(set_name, key, bins)


def first_found(build: Build) -> str:
    """What the first seed that finds anything found."""
    for seed in range(1, SEEDS_MAX + 1):
        report = simulate(seed, build)
        if report.problem:
            with pytest.raises(Broken, match=f"again: make simulate SEED={seed}"):
                report.check()
            return report.problem
    pytest.fail(f"not found within {SEEDS_MAX} seeds")


@pytest.mark.parametrize(
    ("journal_of", "found"),
    [
        (Doubling, "replays to other answers"),
        (Unfenced, "which is not in the store|has other results than a replay"),
        (WriteBehind, "committed record .*, which is not in the store"),
    ],
)
def test_a_broken_journal_is_found(journal_of: Callable[[Store, Clock], Journal], found: str) -> None:
    assert re.search(found, first_found(Build(journal_of=journal_of)))


@pytest.mark.parametrize(
    ("instance", "found"),
    [
        (Hasty, "to what the journal does not hold so"),
        (Guessing, "to what the journal does not hold so"),
        (Overconfident, "read .* as of record .*, but .* was committed before"),
    ],
)
def test_wrong_answers_are_found(instance: type[Instance], found: str) -> None:
    assert re.search(found, first_found(Build(instance=instance)))


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (Losing, "is missing|which is not in the store"),
        (Rotting, "is missing|was committed before|the journal ends at"),
        (Editing, "was changed"),
    ],
)
def test_a_store_that_loses_is_found(truth: type[Truth], found: str) -> None:
    assert re.search(found, first_found(Build(truth=truth)))


def test_swapped_shares_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = shares.entitlement

    def swapped(takings_sats: int, rates: Parameters) -> Entitlement:
        due = right(takings_sats, rates)
        return replace(due, creator_sats=due.owner_sats, owner_sats=due.creator_sats)

    everywhere(monkeypatch, "entitlement", right, swapped)
    assert re.search("should be|should have", first_found(Build()))


def everywhere(monkeypatch: pytest.MonkeyPatch, name: str, right: object, wrong: object) -> None:
    """Replaces a function wherever the ledger has imported it."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("services.ledger") and getattr(module, name, None) is right:
            monkeypatch.setattr(module, name, wrong)
