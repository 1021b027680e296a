"""The gateway's benchmark: its tables, what it computes, and that its clients read what servers send."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest

from bench.gateway import load, soak, table
from bench.gateway.load import Sample, request_of
from bench.gateway.operations import ACCOUNT, ALL, ROUND
from bench.gateway.results import Delivery, Results, targets
from bench.gateway.serving import GATEWAY, GRAPHQL_WS, JIT, STOCK
from bench.gateway.sockets import Seen, Subscriber


def _filled() -> Results:
    results = Results()
    for operation in ALL:
        for server, costs_us in ((GATEWAY, (100, 140, 900)), (JIT, (600, 700, 800)), (STOCK, (2_800,))):
            results.samples[operation.name][server] = [Sample(1_000, 2.0, cost / 1_000) for cost in costs_us]
    for sockets in (2_000, 5_000):
        results.deliveries[sockets] = {
            GATEWAY: Delivery(
                sockets, sockets * 10, 10.0, sockets * 10 * 15e-6, 12_000, [1.0] * 98 + [7.0, 9.0]
            ),
            GRAPHQL_WS: Delivery(sockets, sockets * 10, 10.0, sockets * 10 * 75e-6, 30_000, [3.0]),
        }
    return results


def test_targets_compare_medians_and_the_worst_query() -> None:
    results = _filled()
    results.samples[ACCOUNT.name][GATEWAY] = [Sample(1_000, 2.0, 0.455)]
    found = {target.name: target for target in targets(results)}
    hot = found[f"hot trusted query ({ROUND.name}), of Mercurius"]
    assert hot.measured == pytest.approx(0.2)
    assert hot.met
    assert found["any query with gRPC calls, of Mercurius"].measured == pytest.approx(0.65)
    assert found["any query with gRPC calls, of Mercurius"].met is False
    assert found["a delivered message"].measured == pytest.approx(15)
    assert found["a delivered message, of graphql-ws"].measured == pytest.approx(0.2)
    assert found["memory of a socket"].measured == pytest.approx(12)


def test_what_was_not_measured_is_said() -> None:
    text = table.rendered(Results())
    assert text.count("not measured") == len(targets(Results()))
    assert "Computed" not in text


def test_tables_say_least_median_and_ratio_and_what_more_would_take() -> None:
    text = table.rendered(_filled())
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert [ROUND.name, GATEWAY, "100", "140", "7,143", ""] in rows
    assert ["", JIT, "600", "700", "1,429", "0.200 ×"] in rows
    assert ["2,000", GATEWAY, "15.0", "2,000", "0.03", "1", "9", "12.0", ""] in rows
    # 10,000/s at 140 µs; 50,000 messages a second at 15 µs, and 12 KB each.
    assert "keep 1.4 cores of gateways busy: 3 processes at 60% of a core each, 1 nodes of 4 cores" in text
    assert (
        "keep 0.8 cores of gateways busy: 2 processes at 60% of a core each, 1 nodes of 4 cores and 0.6 GB"
        in text
    )


def test_servers_are_asked_by_name_if_they_know_names() -> None:
    def asked(server: str) -> Any:
        return json.loads(request_of(ACCOUNT, server).partition(b"\r\n\r\n")[2])

    assert asked(GATEWAY) == {"documentId": ACCOUNT.sha256}
    assert asked(JIT) == {"query": ACCOUNT.sha256, "persisted": True}
    assert asked(STOCK) == {"query": ACCOUNT.document}
    assert b"Authorization: Bearer " in request_of(ACCOUNT, STOCK)
    assert b"Authorization" not in request_of(ROUND, STOCK)


@pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests"])
async def test_an_answer_that_is_no_success_stops_the_run(status: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 24\r\n\r\n".encode() + b'{"data":{"currentRound":1}}'[:24]
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    async with server:
        answer = load.asked(request_of(ROUND, GATEWAY), reader, writer)
        if status.startswith("200"):
            assert await answer == b'{"data":{"currentRound":'
        else:
            with pytest.raises(load.BadAnswer, match="429"):
                await answer
        writer.close()


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


async def test_subscribers_read_frames_of_all_sizes_however_they_are_cut() -> None:
    seen, transport = Seen(), _Transport()
    subscriber = Subscriber(seen)
    subscriber.connection_made(transport)

    def frame(text: str) -> bytes:
        size = len(text)
        if size < 126:
            return bytes([0x81, size]) + text.encode()
        if size < 65_536:
            return b"\x81\x7e" + struct.pack(">H", size) + text.encode()
        return b"\x81\x7f" + struct.pack(">Q", size) + text.encode()

    sent = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frame('{"type":"connection_ack"}') + b"\x89\x02hi"
    for padding in (0, 200, 70_000):
        sent += frame(json.dumps({"type": "next", "score": 1_000, "rest": "x" * padding}))
    for at in range(0, len(sent), 7):
        subscriber.data_received(sent[at : at + 7])
    assert subscriber.first.done()
    assert seen.messages == 2  # the first event is what was before
    assert transport.written[1].endswith(b'{"type": "connection_init"}')
    assert b"leaderboardUpdated" in transport.written[2]
    assert transport.written[3] == b"\x8a\x82\0\0\0\0hi"
    assert (await seen.until(2, 1.0))["messages"] == 2


def _at(second: int, megabytes: float, tasks: int = 16, files: int = 33, streams: int = 5) -> soak.Sample:
    return soak.Sample(second, int(megabytes * 1_000_000), tasks, files, streams)


def test_a_soak_passes_when_nothing_grows() -> None:
    samples = [_at(second, 150 + second % 3, tasks=300, files=130) for second in range(60)]
    assert all(target.met for target in soak.verdict(_at(0, 150), samples, _at(70, 152, files=35)))


@pytest.mark.parametrize(
    ("after", "growth", "what"),
    [
        (_at(70, 150), 0.5, "memory, last quarter against the second"),
        (_at(70, 150, tasks=17), 0.0, "tasks left behind"),
        (_at(70, 150, files=60), 0.0, "files left behind"),
        (_at(70, 150, streams=6), 0.0, "streams left behind"),
    ],
)
def test_a_soak_fails_by_what_grows(after: soak.Sample, growth: float, what: str) -> None:
    samples = [_at(second, 150 + second * growth) for second in range(60)]
    assert [one.name for one in soak.verdict(_at(0, 150), samples, after) if not one.met] == [what]
    assert "**missed**" in soak.rendered(_at(0, 150), samples, after)
