"""What becomes of answers without a message, and of reads that nobody takes."""

from __future__ import annotations

import asyncio

import pytest
from satreel_testing.mesh.v1.echo_service_pb2 import EchoResponse

from mesh.errors import Code, RemoteFailure
from mesh.http2 import frames
from mesh.http2.pool import Pool
from mesh.http2.unary import NOT_MADE, unary
from tests.mesh.http2.played import AHEAD, ECHO, ENDED, OK, Played, headers


@pytest.mark.parametrize(
    ("ahead", "behind", "code"),
    [
        ({":status": "404"}, None, Code.UNIMPLEMENTED),
        ({":status": "418"}, None, Code.UNKNOWN),
        (AHEAD, {"no": "status"}, Code.INTERNAL),
        (AHEAD, {"grpc-status": "99"}, Code.UNKNOWN),
        (AHEAD, {"grpc-status": "8", "grpc-message": "f%C3%BCll"}, Code.RESOURCE_EXHAUSTED),
        (AHEAD, {"grpc-status": "9", "grpc-status-details-bin": "!!"}, Code.INTERNAL),
        (AHEAD, OK, Code.INTERNAL),
    ],
)
async def test_answers_without_a_message_become_failures(
    ahead: dict[str, str], behind: dict[str, str] | None, code: Code
) -> None:
    pool = Pool("127.0.0.1:1", 1_000, None)
    played = Played()
    pool.pick = lambda _: played.connection  # type: ignore[method-assign, assignment]
    call = asyncio.ensure_future(
        unary(pool, ECHO, b"", b"", timeout_s=5, parse=EchoResponse.FromString, said=None)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    played.say(headers(1, ahead, flags=frames.END_HEADERS | (frames.END_STREAM if behind is None else 0)))
    if behind is not None:
        played.say(headers(1, behind, flags=ENDED))
    with pytest.raises(RemoteFailure) as told:
        await call
    assert told.value.code == code
    assert told.value.method == ECHO.path
    if "grpc-message" in (behind or {}):
        assert told.value.message == "füll"


async def test_a_read_that_nobody_could_answer_is_left_to_grpc() -> None:
    pool = Pool("127.0.0.1:1", 1_000, None)
    played = Played()
    pool.pick = lambda _: played.connection  # type: ignore[method-assign, assignment]
    call = asyncio.ensure_future(
        unary(pool, ECHO, b"", b"", timeout_s=5, parse=EchoResponse.FromString, said=None)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    played.say(headers(1, {":status": "503"}, flags=ENDED))
    assert await call is NOT_MADE


async def test_where_nobody_listens_calls_are_left_to_grpc() -> None:
    pool = Pool("127.0.0.1:1", 1_000, None)
    for _ in range(3):
        made = await unary(pool, ECHO, b"", b"", timeout_s=5, parse=EchoResponse.FromString, said=None)
        assert made is NOT_MADE
        await asyncio.sleep(0.01)
    await pool.close()
