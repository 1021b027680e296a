"""An edge near the end of its memory: refuses as overload is told, breaks off what holds most, recovers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from mesh.errors import Code
from mesh.status import from_rpc_error
from tests.edge.lone import alone
from topology import edge, envoy
from topology.edge import bootstrap as edge_bootstrap
from topology.edge.places import MIB

# More than one edge bears, each with half a request.
CLIENTS = 48
PATIENCE_S = 120.0
# It is asked for a page again and again.
ASKED = 1_000_000


async def test_who_has_no_memory_left_says_so_to_everybody_in_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def patient(*whom: Any, **told: Any) -> dict[str, Any]:
        # With none at all it breaks off over HTTP/1 before it knows what is asked for.
        found = envoy.bootstrap(*whom, **told)
        return {**found, "overload_manager": {**found["overload_manager"], "loadshed_points": []}}

    monkeypatch.setattr(edge_bootstrap, "bootstrap", patient)
    path = "/satreel.chain.v1.ChainService/GetTip"
    async with (
        alone(tmp_path, limits=edge.Limits(heap_bytes=1, pages_at_once=ASKED)) as at,
        aiohttp.ClientSession(f"http://{at.http}") as client,
        grpc.aio.insecure_channel(str(at.http)) as channel,
    ):
        # It looks for the first time a moment after it has begun.
        while (await client.get("/openapi.json")).status == 200:
            await asyncio.sleep(0.05)
        for url in ("/openapi.json", "/v1/blocks/tip", "/graphql"):
            async with client.get(url) as answer:
                body = await answer.json()
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            assert (body["code"], body["details"][0]["reason"]) == (8, "OVERLOADED")
        # Over HTTP/2.
        call: Any = channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", timeout=10)
        told = from_rpc_error(refused.value, method=path)
        assert (told.code, told.reason, told.domain) == (
            Code.RESOURCE_EXHAUSTED,
            "OVERLOADED",
            "satreel.edge",
        )
        for kind in ("application/grpc-web+proto", "application/grpc-web-text"):
            async with client.post(path, headers={"Content-Type": kind}) as answer:
                assert (answer.status, answer.headers["grpc-status"], await answer.read()) == (200, "8", b"")
                assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("http", [1, 2])
async def test_what_requests_hold_together_is_bounded(tmp_path: Path, http: int) -> None:
    half_a_request = half_a_request_1 if http == 1 else half_a_request_2
    limits = edge.Limits(heap_bytes=96 * MIB, body_bytes=8 * MIB, large_at_once=CLIENTS, pages_at_once=ASKED)
    async with alone(tmp_path, limits=limits) as at, aiohttp.ClientSession() as client:

        async def held_mib() -> float:
            async with client.get(f"http://{at.admin}/memory") as answer:
                return int((await answer.json(content_type=None))["allocated"]) / MIB

        sent = [asyncio.Event() for _ in range(CLIENTS)]
        clients = [asyncio.create_task(half_a_request(at, 7 * MIB, one)) for one in sent]
        held = [await held_mib()]
        # All keep what they have sent until none sends more, and somebody has been broken off.
        async with asyncio.timeout(PATIENCE_S):
            while not all(one.is_set() for one in sent) or not any(one.done() for one in clients):
                held.append(await held_mib())
                await asyncio.sleep(0.1)
        for one in clients:
            one.cancel()
        ends = await asyncio.gather(*clients, return_exceptions=True)
        assert None in ends
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends), ends
        assert max(held) < CLIENTS * 7
        async with asyncio.timeout(PATIENCE_S):
            while await status(client, f"{at.http}/openapi.json") != 200:
                await asyncio.sleep(0.1)


async def test_who_has_no_memory_left_refuses_is_alive_and_recovers(tmp_path: Path) -> None:
    limits = edge.Limits(heap_bytes=64 * MIB, body_bytes=8 * MIB, quiet_s=30, pages_at_once=ASKED)
    async with alone(tmp_path, limits=limits) as at, aiohttp.ClientSession() as client:
        host, _, port = str(at.http).partition(":")
        held = []
        while (told := await status(client, f"{at.http}/openapi.json")) != 429:
            if told == 200:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
                writer.write(bytes(4 * MIB))
                held.append(writer)
            # It looks at its memory so often.
            await asyncio.sleep(0.3)
        assert await status(client, f"{at.monitor}/ready") == 200
        # They do not go on, and have less time than usual.
        async with asyncio.timeout(28):
            while await status(client, f"{at.http}/openapi.json") != 200:
                await asyncio.sleep(0.1)
        for writer in held:
            writer.close()


async def status(client: aiohttp.ClientSession, url: str) -> int:
    """Of the answer; 0: the connection was broken off, as the last means."""
    try:
        async with client.get(f"http://{url}") as answer:
            return answer.status
    except aiohttp.ClientConnectionError:
        return 0


async def half_a_request_1(places: edge.Places, size: int, sent: asyncio.Event) -> None:
    """Sends so much of a body over HTTP/1, and not its end; returns once it is broken off."""
    host, _, port = str(places.http).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
    try:
        writer.write(bytes(size))
        await writer.drain()
        sent.set()
        await reader.read(1)
    except ConnectionError:
        pass
    finally:
        sent.set()
        writer.transport.abort()


async def half_a_request_2(places: edge.Places, size: int, sent: asyncio.Event) -> None:
    """Sends so much of a body over HTTP/2, and not its end; returns once it is broken off."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def field(name: bytes, value: bytes) -> bytes:
        return bytes([0, len(name)]) + name + bytes([len(value)]) + value

    asked = {b":method": b"POST", b":path": b"/graphql", b":scheme": b"http", b":authority": b"x"}
    head = b"".join(field(*one) for one in asked.items())
    host, _, port = str(places.http).partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head))
    windows, kind = {0: 65_535, 1: 65_535}, 0
    try:
        while kind != 3:
            if (piece := min(16_384, size, *windows.values())) > 0:
                writer.write(frame(0, 0, 1, bytes(piece)))
                windows = {stream: left - piece for stream, left in windows.items()}
                size -= piece
                continue
            if size == 0:
                sent.set()
            kind, stream, told = await _frame(reader)
            if kind == 8:
                windows[stream] += int.from_bytes(told, "big")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        sent.set()
        writer.transport.abort()


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = await reader.readexactly(9)
    return head[3], int.from_bytes(head[5:], "big"), await reader.readexactly(int.from_bytes(head[:3], "big"))
