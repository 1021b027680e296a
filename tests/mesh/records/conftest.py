"""One contract, every adapter: `opened` opens a store of the kind under test, empty for each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from mesh.records import SetSpec, Store
from mesh.records.aerospike import AerospikeSettings, open_aerospike
from mesh.records.memory import MemoryStore
from mesh.records.sqlite import open_sqlite

SETS = (SetSpec("things", indexes={"state": str, "size": int}), SetSpec("others"))

AEROSPIKE_HOSTS = os.environ.get("SATREEL_AEROSPIKE_HOSTS", "")

Opener = Callable[[], AbstractAsyncContextManager[Store]]


async def _emptied(store: Store) -> None:
    for spec in SETS:
        while page := await store.scan(spec.name):
            for record in page:
                await store.delete(spec.name, record.key)


@asynccontextmanager
async def _aerospike() -> AsyncIterator[Store]:
    async with open_aerospike(AerospikeSettings(hosts=AEROSPIKE_HOSTS), SETS, service="contract") as store:
        await _emptied(store)
        yield store


@pytest.fixture(params=["memory", "sqlite", *(["aerospike"] if AEROSPIKE_HOSTS else [])])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    @asynccontextmanager
    async def memory() -> AsyncIterator[Store]:
        yield MemoryStore(SETS)

    match request.param:
        case "memory":
            return memory
        case "sqlite":
            return lambda: open_sqlite(tmp_path / "records" / "test.sqlite", SETS)
        case _:
            return _aerospike


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened
