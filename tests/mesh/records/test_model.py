"""Random histories on a real SQLite file against a dictionary, and what the faulty store does."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.records import (
    Busy,
    Exists,
    InDoubt,
    Missing,
    Record,
    SetSpec,
    Stale,
    Store,
    StoreUnavailable,
    Value,
)
from mesh.records.memory import MemoryStore, page
from mesh.records.sqlite import open_sqlite
from mesh.records.testing import Faults, FaultyStore

SETS = (SetSpec("things", indexes={"state": str, "size": int}),)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
KEYS = st.sampled_from(["a", "ab", "b", "é", "z"]) | TEXT.filter(bool)
STATES = st.sampled_from(["open", "done", "", "é"])
SIZES = st.sampled_from([0, 1, -(2**63), 2**63 - 1])
VALUES = (
    st.integers(-(2**63), 2**63 - 1)
    | TEXT
    | st.binary(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)
BINS = st.fixed_dictionaries({"n": VALUES}, optional={"state": STATES, "size": SIZES, "other": VALUES})


class SqliteAgainstDict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Record] = {}
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.runner.run(self.open())

    async def open(self) -> None:
        self.stack = AsyncExitStack()
        path = Path(self.folder.name) / "model.sqlite"
        self.store = await self.stack.enter_async_context(open_sqlite(path, SETS))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    @rule(key=KEYS, bins=BINS)
    def create(self, key: str, bins: dict[str, Value]) -> None:
        if key in self.model:
            with pytest.raises(Exists):
                self.runner.run(self.store.create("things", key, bins))
        else:
            self.model[key] = Record(key, bins, self.runner.run(self.store.create("things", key, bins)))

    @rule(key=KEYS, bins=BINS, back=st.integers(0, 2))
    def put_if(self, key: str, bins: dict[str, Value], back: int) -> None:
        record = self.model.get(key)
        generation = record.generation - back if record else back
        if record is None or back:
            with pytest.raises(Stale if record else Missing):
                self.runner.run(self.store.put_if("things", key, bins, generation))
        else:
            written = self.runner.run(self.store.put_if("things", key, bins, generation))
            self.model[key] = Record(key, bins, written)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.runner.run(self.store.delete("things", key))
        self.model.pop(key, None)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.run(self.open())

    @rule(state=STATES, after=TEXT, limit=st.integers(1, 3), descending=st.booleans())
    def query(self, state: str, after: str, limit: int, descending: bool) -> None:
        found = self.runner.run(
            self.store.query_eq("things", "state", state, after=after, limit=limit, descending=descending)
        )
        matching = [record for record in self.model.values() if record.bins.get("state") == state]
        assert found == page(matching, after=after, limit=limit, descending=descending)

    @rule(prefix=st.sampled_from(["", "a", "\uffff"]) | TEXT, after=TEXT, descending=st.booleans())
    def scan(self, prefix: str, after: str, descending: bool) -> None:
        found = self.runner.run(self.store.scan("things", prefix=prefix, after=after, descending=descending))
        matching = [record for record in self.model.values() if record.key.startswith(prefix)]
        assert found == page(matching, after=after, limit=1_000, descending=descending)

    @invariant()
    def all_there(self) -> None:
        found = self.runner.run(self.store.scan("things"))
        assert {record.key: record for record in found} == self.model


TestSqliteAgainstDict = SqliteAgainstDict.TestCase
TestSqliteAgainstDict.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


async def outcome(store: Store, key: str) -> str:
    try:
        await store.create("things", key, {"n": 1})
    except (Busy, StoreUnavailable, InDoubt) as failure:
        return type(failure).__name__
    return "done"


@pytest.mark.parametrize(
    ("faults", "answer", "written"),
    [
        (Faults(busy=1), "Busy", False),
        (Faults(unavailable=1), "StoreUnavailable", False),
        (Faults(in_doubt_lost=1), "InDoubt", False),
        (Faults(in_doubt_applied=1), "InDoubt", True),
        (Faults(), "done", True),
    ],
)
async def test_faults_do_what_they_say(faults: Faults, answer: str, written: bool) -> None:
    store = MemoryStore(SETS)
    assert await outcome(FaultyStore(store, faults, Random(1)), "key") == answer
    assert (await store.get("things", "key") is not None) is written


async def test_a_late_write_comes_later() -> None:
    store = MemoryStore(SETS)
    faulty = FaultyStore(store, Faults(in_doubt_late=1), Random(1))
    assert await outcome(faulty, "key") == "InDoubt"
    assert await store.get("things", "key") is None
    faulty.faults = Faults()
    for _ in range(20):
        await faulty.get("things", "other")
    assert await store.get("things", "key") is not None


async def test_a_seed_repeats_its_faults() -> None:
    faults = Faults(busy=0.2, unavailable=0.2, in_doubt_applied=0.2, in_doubt_lost=0.2, in_doubt_late=0.2)

    async def history(seed: int) -> list[str]:
        faulty = FaultyStore(MemoryStore(SETS), faults, Random(seed))
        return [await outcome(faulty, f"{number}") for number in range(200)]

    assert await history(7) == await history(7)
    assert len({*await history(7)}) == 4
    assert await history(7) != await history(8)
