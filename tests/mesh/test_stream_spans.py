"""Calls that answer with a stream have a span at who calls, until the stream ends, fails, or is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh import telemetry
from mesh.errors import RemoteFailure
from mesh.server import MeshServer
from tests.mesh.conftest import House


@pytest.fixture
def told() -> Iterator[list[ReadableSpan]]:
    told: list[ReadableSpan] = []
    telemetry.tracer.tell(telemetry.Teller(told.append, Resource({}), slow_s=0))
    yield told
    telemetry.tracer.tell(None)


def calls(told: list[ReadableSpan], kind: str) -> list[tuple[str, object, bool]]:
    return [
        (
            span.name.rpartition("/")[2],
            (span.attributes or {})["rpc.response.status_code"],
            not span.status.is_ok,
        )
        for span in told
        if span.kind.name == kind
    ]


async def test_its_span_ends_with_it(house: House, server: MeshServer, told: list[ReadableSpan]) -> None:
    stub = house.stub(server)
    assert [answer.text async for answer in stub.Watch(EchoRequest(text="hi"))]
    with pytest.raises(RemoteFailure):
        async for _ in stub.Watch(EchoRequest(text="broken")):
            pass
    left = cast("AsyncGenerator[Any, None]", aiter(stub.Watch(EchoRequest(text="left"))))
    async with aclosing(left) as answers:
        await anext(answers)
    talk = stub.Talk()
    await talk.done_writing()
    await talk.read()
    assert calls(told, "CLIENT") == [
        ("Watch", "OK", False),
        ("Watch", "INTERNAL", True),
        ("Watch", "CANCELLED", False),
        ("Talk", "OK", False),
    ]


async def test_the_server_stands_under_it(house: House, server: MeshServer, told: list[ReadableSpan]) -> None:
    with telemetry.tracer.start_as_current_span("asks") as asks:
        assert [answer async for answer in house.stub(server).Watch(EchoRequest(text="hi"))]
    by_kind = {span.kind.name: span for span in told}
    assert by_kind["CLIENT"].parent == asks.get_span_context()
    server_side, client_side = by_kind["SERVER"].parent, by_kind["CLIENT"].context
    assert server_side is not None
    assert client_side is not None
    assert server_side.span_id == client_side.span_id
