"""Requests, sent one behind the other on a few connections, and what they cost the server's process."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from bench.gateway.operations import Operation
from bench.gateway.serving import GATEWAY, JIT, Server
from sandbox.process import LOOPBACK

_LENGTH = b"\r\ncontent-length: "


class BadAnswer(Exception):  # noqa: N818 - an answer, not a fault
    """An answer is not what was asked for: the figures would be worth nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one server."""

    requests: int
    seconds: float
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """CPU time of the server's process for a request, in microseconds."""
        return self.cpu_s / self.requests * 1e6


def body_of(operation: Operation, server: str) -> dict[str, Any]:
    """As each server is asked fastest: by the document's name, if it knows names."""
    by_name: dict[str, dict[str, Any]] = {
        GATEWAY: {"documentId": operation.sha256},
        JIT: {"query": operation.sha256, "persisted": True},
    }
    return by_name.get(server, {"query": operation.document})


def request_of(operation: Operation, server: str) -> bytes:
    """The whole request, ready to be sent."""
    body = json.dumps(body_of(operation, server)).encode()
    lines = [
        "POST /graphql HTTP/1.1",
        "Host: gateway",
        "Accept: application/json",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Authorization: Bearer {operation.token}"] if operation.signed_in else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def data_of(operation: Operation, server: Server) -> Any:
    """What it answers. Raises BadAnswer for errors."""
    reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
    try:
        answer = await asked(request_of(operation, server.name), reader, writer)
    finally:
        writer.close()
    told = json.loads(answer)
    if "errors" in told or not all(told["data"].values()):
        raise BadAnswer(f"{server.name}, {operation.name}: {answer[:1_000]!r}")
    return told["data"]


async def measured(operation: Operation, server: Server, *, requests: int, in_flight: int) -> Sample:
    """So many requests. Raises BadAnswer when one has another length than the first."""
    request = request_of(operation, server.name)
    expected = 0

    async def work(count: int) -> None:
        nonlocal expected
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        try:
            for _ in range(count):
                answer = await asked(request, reader, writer)
                expected = expected or len(answer)
                if len(answer) != expected:
                    raise BadAnswer(f"{server.name}, {operation.name}: {answer[:1_000]!r}")
        finally:
            writer.close()

    begun_s, cpu_s = time.perf_counter(), server.cpu_s()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work(requests // in_flight))
    seconds, cpu_s = time.perf_counter() - begun_s, server.cpu_s() - cpu_s
    return Sample(requests // in_flight * in_flight, seconds, cpu_s)


async def asked(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The body of the answer. Raises BadAnswer for any but a success."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.find(_LENGTH)
    if at < 0:
        raise BadAnswer(f"an answer without a length: {head!r}")
    length = int(head[at + len(_LENGTH) : head.index(b"\r", at + 2)])
    answer = await reader.readexactly(length)
    if not head.startswith(b"http/1.1 200 "):
        raise BadAnswer(f"{head!r} {answer[:1_000]!r}")
    return answer
