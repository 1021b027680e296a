"""The store: the port's calls, each on a thread of its own pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import aerospike
from aerospike import exception, predicates
from aerospike_helpers import expressions as exp

from mesh import telemetry
from mesh.records.aerospike.answers import Found, batch_result, failure_of, record_of
from mesh.records.aerospike.client import QUERY_TIMEOUT_MS, AerospikeSettings, open_client
from mesh.records.errors import Busy, Missing, Misuse, Stale
from mesh.records.port import PAGE_MAX, Bins, Catalogue, Record, SetSpec, prefix_end

# More threads are slower: they share one interpreter.
THREADS = 8
QUEUE_MAX = 5_000
INDEX_WAIT_S = 60.0
INDEX_POLL_S = 0.1
NAME_LENGTH_MAX = 63
_GENERATION_MAX = 2**16 - 1

Result = TypeVar("Result")
_Key = tuple[str, str, str]


@asynccontextmanager
async def open_aerospike(
    settings: AerospikeSettings, sets: Iterable[SetSpec], *, service: str
) -> AsyncIterator[AerospikeStore]:
    """Connects, and waits until the declared indexes can be used. Raises StoreUnavailable, Misuse."""
    catalogue = Catalogue(sets)
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="aerospike")
    loop = asyncio.get_running_loop()
    try:
        client = await loop.run_in_executor(executor, open_client, settings)
        store = AerospikeStore(client, executor, catalogue, settings.namespace, service)
        try:
            await store.create_indexes()
            yield store
        finally:
            await loop.run_in_executor(executor, client.close)
    finally:
        executor.shutdown()


class AerospikeStore:
    """A `Store`; made by `open_aerospike`."""

    def __init__(
        self,
        client: aerospike.Client,
        executor: ThreadPoolExecutor,
        catalogue: Catalogue,
        namespace: str,
        service: str,
    ) -> None:
        self._client = client
        self._executor = executor
        self._catalogue = catalogue
        self._namespace = namespace
        self._service = service
        self._waiting = 0

    async def get(self, set_name: str, key: str) -> Record | None:
        """The record, or None."""
        self._catalogue.check_key(set_name, key)

        def read() -> Record | None:
            try:
                return record_of(self._client.get(self._key(set_name, key)))
            except exception.RecordNotFound:
                return None

        return await self._run("get", set_name, read)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        """Those of the records that exist, by key."""
        self._catalogue.check_keys(set_name, keys)
        distinct = list(dict.fromkeys(keys))
        if not distinct:
            return {}

        def read() -> dict[str, Record]:
            answer = self._client.batch_read([self._key(set_name, key) for key in distinct])
            # It does not raise when nodes are silent: each record has a result of its own.
            pairs = zip(distinct, answer.batch_records, strict=True)
            results = {key: batch_result(found.result, found.record) for key, found in pairs}
            return {key: record for key, record in results.items() if record is not None}

        return await self._run("get many", set_name, read)

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        """Writes a record that does not exist yet."""
        kept = self._catalogue.checked(set_name, key, bins)
        policy = {"exists": aerospike.POLICY_EXISTS_CREATE}

        def put() -> None:
            self._client.put(self._key(set_name, key), kept, {}, policy)

        await self._run("create", set_name, put, writes=True)
        return 1

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        """Replaces the record if it still has this generation."""
        kept = self._catalogue.checked(set_name, key, bins)
        if not 0 < generation <= _GENERATION_MAX:
            await self._refuse_generation(set_name, key)
        policy = {"exists": aerospike.POLICY_EXISTS_REPLACE, "gen": aerospike.POLICY_GEN_EQ}
        meta = {"gen": generation}

        def put() -> None:
            self._client.put(self._key(set_name, key), kept, meta, policy)

        await self._run("put", set_name, put, writes=True)
        # Behind the largest comes 1: the server keeps 0 for records that do not exist.
        return generation % _GENERATION_MAX + 1

    async def query_eq(
        self,
        set_name: str,
        bin_name: str,
        value: str | int,
        *,
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """Records whose indexed bin has this value, in the order of keys."""
        self._catalogue.check_page(set_name, limit, after)
        wanted = predicates.equals(bin_name, self._catalogue.checked_index(set_name, bin_name, value))
        conditions = _behind(after, descending=descending)
        walk = partial(self._walk, set_name, wanted, conditions, limit, descending=descending)
        return await self._run("query", set_name, walk)

    async def scan(
        self,
        set_name: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = PAGE_MAX,
        descending: bool = False,
    ) -> list[Record]:
        """Records whose keys begin with `prefix`, in the order of keys."""
        self._catalogue.check_page(set_name, limit, after, prefix)
        conditions = _behind(after, descending=descending)
        if prefix:
            conditions.append(exp.GE(exp.KeyStr(), prefix))
            end = prefix_end(prefix)
            conditions += [] if end is None else [exp.LT(exp.KeyStr(), end)]
        walk = partial(self._walk, set_name, None, conditions, limit, descending=descending)
        return await self._run("scan", set_name, walk)

    async def delete(self, set_name: str, key: str) -> None:
        """Removes the record, if there is one."""
        self._catalogue.check_key(set_name, key)

        def remove() -> None:
            try:
                self._client.remove(self._key(set_name, key))
            except exception.RecordNotFound:
                return  # as was asked for

        await self._run("delete", set_name, remove, writes=True)

    async def create_indexes(self) -> None:
        """Makes the declared indexes and waits until they are built."""
        for spec in self._catalogue.specs.values():
            self._set(spec.name)
            for name, kind in spec.indexes.items():
                await self._run("create index", spec.name, partial(self._index, spec.name, name, kind))

    def _index(self, set_name: str, bin_name: str, kind: type[str | int]) -> None:
        index = f"{self._set(set_name)}_{bin_name}"
        if len(index) > NAME_LENGTH_MAX:
            raise Misuse(f"the name of index {index!r} is too long for Aerospike")
        datatype = aerospike.INDEX_STRING if kind is str else aerospike.INDEX_NUMERIC
        with suppress(exception.IndexFoundError):  # made by an earlier start, or by another process just now
            self._client.index_single_value_create(
                self._namespace, self._set(set_name), bin_name, datatype, index
            )
        give_up_at = time.monotonic() + INDEX_WAIT_S
        probe = predicates.equals(bin_name, kind())
        while True:
            try:
                self._walk(set_name, probe, [], 1, descending=False)
            except (exception.IndexNotFound, exception.IndexNotReadable):
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(INDEX_POLL_S)
            else:
                return

    def _walk(
        self,
        set_name: str,
        predicate: tuple[object, ...] | None,
        conditions: list[object],
        limit: int,
        *,
        descending: bool,
    ) -> list[Record]:
        query = self._client.query(self._namespace, self._set(set_name))
        if predicate is not None:
            query.where(predicate)
        policy: dict[str, object] = {"total_timeout": QUERY_TIMEOUT_MS}
        if conditions:
            policy["expressions"] = exp.And(*conditions).compile()
        nearest: list[Record] = []

        def keep(found: Found) -> None:
            nearest.append(record_of(found))
            if len(nearest) >= 4 * limit:
                _cut(nearest, limit, descending=descending)

        query.foreach(keep, policy)
        _cut(nearest, limit, descending=descending)
        return nearest

    async def _refuse_generation(self, set_name: str, key: str) -> None:
        if await self.get(set_name, key) is None:
            raise Missing(f"there is no record {key!r} in {set_name!r}")
        raise Stale(f"record {key!r} of {set_name!r} never had this generation")

    async def _run(
        self, operation: str, set_name: str, work: Callable[[], Result], *, writes: bool = False
    ) -> Result:
        if self._waiting >= QUEUE_MAX:
            raise Busy(f"{QUEUE_MAX} operations are waiting")

        def translated() -> Result:
            try:
                return work()
            except exception.AerospikeError as problem:
                raise failure_of(problem, writes=writes) from problem

        kept_in = self._set(set_name)
        named = {
            "db.system.name": "aerospike",
            "db.namespace": self._namespace,
            "db.collection.name": kept_in,
            "db.operation.name": operation,
        }
        self._waiting += 1
        try:
            with telemetry.tracer.outgoing(f"{operation} {kept_in}", named):
                return await asyncio.get_running_loop().run_in_executor(self._executor, translated)
        finally:
            self._waiting -= 1

    def _set(self, set_name: str) -> str:
        name = f"{self._service}_{set_name}"
        if len(name) > NAME_LENGTH_MAX:
            raise Misuse(f"the name of set {name!r} is too long for Aerospike")
        return name

    def _key(self, set_name: str, key: str) -> _Key:
        return self._namespace, f"{self._service}_{set_name}", key


def _behind(after: str, *, descending: bool) -> list[object]:
    if not after:
        return []
    return [exp.LT(exp.KeyStr(), after) if descending else exp.GT(exp.KeyStr(), after)]


def _cut(records: list[Record], limit: int, *, descending: bool) -> None:
    records.sort(key=lambda record: record.key, reverse=descending)
    del records[limit:]
