"""What can be known of the Aerospike adapter without a server; with one it runs the whole contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NoReturn, cast

import aerospike
import pytest
from aerospike import exception
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from mesh import telemetry
from mesh.errors import Failure
from mesh.records import Busy, Exists, InDoubt, Missing, Misuse, SetSpec, Stale, StoreUnavailable, TooBig
from mesh.records.aerospike import AerospikeSettings, AerospikeStore, open_aerospike
from mesh.records.port import Catalogue
from sandbox.process import free_port
from tests.mesh.records.conftest import AEROSPIKE_HOSTS

SETS = (SetSpec("things", indexes={"state": str}),)


def test_the_contract_was_checked_on_a_server() -> None:
    if not AEROSPIKE_HOSTS:
        pytest.skip("SATREEL_AEROSPIKE_HOSTS names no server: the contract was NOT checked on Aerospike")


async def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    # The client refuses settings it does not know before it connects: getting this far checks them all.
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable):
        async with open_aerospike(AerospikeSettings(hosts=nobody), SETS, service="test"):
            pass


@pytest.mark.parametrize("hosts", ["", "host", "host:", ":3000", "host:port", "a:1,b"])
async def test_hosts_that_cannot_be_read_are_refused(hosts: str) -> None:
    with pytest.raises(Misuse):
        async with open_aerospike(AerospikeSettings(hosts=hosts), SETS, service="test"):
            pass


class Failing:
    """A client that answers everything with one failure."""

    def __init__(self, answer: exception.AerospikeError) -> None:
        self._answer = answer

    def put(self, *_: object) -> NoReturn:
        raise self._answer

    get = remove = batch_read = put


Call = Callable[[AerospikeStore], Awaitable[object]]
READ: Call = lambda store: store.get("things", "key")  # noqa: E731 - a table of calls
MANY: Call = lambda store: store.get_many("things", ["key"])  # noqa: E731
CREATE: Call = lambda store: store.create("things", "key", {"n": 1})  # noqa: E731
PUT: Call = lambda store: store.put_if("things", "key", {"n": 1}, 1)  # noqa: E731
DELETE: Call = lambda store: store.delete("things", "key")  # noqa: E731


@pytest.mark.parametrize(
    ("raised", "in_doubt", "call", "expected"),
    [
        (exception.RecordExistsError, False, CREATE, Exists),
        (exception.RecordGenerationError, False, PUT, Stale),
        (exception.RecordNotFound, False, PUT, Missing),
        (exception.RecordTooBig, False, PUT, TooBig),
        (exception.RecordBusy, False, PUT, Busy),
        (exception.DeviceOverload, False, CREATE, Busy),
        (exception.TimeoutError, True, CREATE, InDoubt),
        (exception.TimeoutError, False, PUT, InDoubt),
        (exception.TimeoutError, True, DELETE, InDoubt),
        (exception.TimeoutError, False, READ, StoreUnavailable),
        (exception.TimeoutError, False, MANY, StoreUnavailable),
        (exception.ClientError, True, PUT, InDoubt),
        (exception.ClientError, False, PUT, StoreUnavailable),
        (exception.ServerFull, False, CREATE, StoreUnavailable),
        (exception.ClusterChangeError, False, READ, StoreUnavailable),
        (exception.ParamError, False, CREATE, Misuse),
    ],
)
async def test_every_answer_of_the_client_has_its_failure(
    raised: type[exception.AerospikeError], in_doubt: bool, call: Call, expected: type[Failure]
) -> None:
    answer = raised("no")
    codes: dict[type[exception.AerospikeError], int] = {
        exception.RecordBusy: 14,
        exception.DeviceOverload: 18,
    }
    answer.code, answer.msg, answer.in_doubt = codes.get(raised, 0), "no", in_doubt
    with ThreadPoolExecutor(1) as executor:
        client = cast("aerospike.Client", Failing(answer))
        store = AerospikeStore(client, executor, Catalogue(SETS), "test", "service")
        with pytest.raises(expected) as failed:
            await call(store)
    assert type(failed.value) is expected


async def test_calls_are_seen_in_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[ReadableSpan] = []
    tracer = telemetry.Tracer()
    tracer.tell(telemetry.Teller(told.append, Resource({}), slow_s=60))
    monkeypatch.setattr(telemetry, "tracer", tracer)
    answer = exception.TimeoutError("no")
    with ThreadPoolExecutor(1) as executor:
        client = cast("aerospike.Client", Failing(answer))
        store = AerospikeStore(client, executor, Catalogue(SETS), "test", "service")
        with tracer.start_as_current_span("asks"), suppress(Failure):
            await CREATE(store)
    assert told[0].name == "create service_things"
    assert dict(told[0].attributes or {}) == {
        "db.system.name": "aerospike",
        "db.namespace": "test",
        "db.collection.name": "service_things",
        "db.operation.name": "create",
        "error.type": InDoubt.reason,
    }
