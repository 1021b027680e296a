"""One connection to a server: unary calls, and what the server reports of its health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from mesh.http2 import frames
from mesh.http2.frames import ProtocolProblem

FRAME_BYTES_MAX = 1 << 18
# So much may be read before the other side is told that it may send more.
_WINDOW_EVERY = 1 << 28
# Looks every 5 s; after so many without a word the server is pinged, and has until the next look.
BEAT_S = 5.0
_SILENT_BEATS = 3
_HEALTH_PATH = "/grpc.health.v1.Health/Watch"
_HEALTH_STREAM = 1
_PREFIX_BYTES = 5
_REPORT_BYTES_MAX = 1_000


class Unsent(Exception):  # noqa: N818 - what became of a call
    """The server has not begun with the call: it may be made anew, whatever it does."""


class Broken(Exception):  # noqa: N818 - what became of a call
    """The connection ended before the answer: nobody knows whether the call was carried out."""


class Reset(Exception):  # noqa: N818 - what became of a call
    """The server ended the call without a status; `code` is HTTP/2's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class TooLong(Exception):  # noqa: N818 - what became of a call
    """The answer is larger than a message may be."""


class Answer(NamedTuple):
    """What came: the fields ahead of the message, the message as it is framed, and the fields behind it."""

    ahead: Mapping[str, str]
    framed: bytes
    behind: Mapping[str, str]


class _Call:
    __slots__ = ("ahead", "answer", "parts", "size")

    def __init__(self, answer: asyncio.Future[Answer]) -> None:
        self.answer = answer
        self.ahead: Mapping[str, str] | None = None
        self.parts: list[bytes] = []
        self.size = 0


class Connection(asyncio.Protocol):
    """Made by `loop.create_connection`. With `health`, calls are taken while the server serves that name."""

    def __init__(
        self,
        authority: str,
        *,
        secure: bool,
        health: str | None,
        message_bytes_max: int,
        on_gone: Callable[[], None],
    ) -> None:
        self._authority = authority
        self._secure = secure
        self._health = health
        self._framed_max = message_bytes_max + _PREFIX_BYTES
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._calls: dict[int, _Call] = {}
        self._openings: dict[str, bytes] = {}
        self._next_stream = 1
        self._serving = False
        # No new calls: it is to end, or has ended.
        self._leaving = False
        self._paused = False
        # What the server allows us.
        self._window = self._initial_window = frames.WINDOW_DEFAULT
        self._frame_bytes_max = frames.FRAME_BYTES_DEFAULT
        self._streams_max = frames.WINDOW_MAX
        # What was read of an unfinished frame, block of headers, and report of health.
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None
        self._report = b""
        self._unacknowledged = 0
        self._unwritten: list[bytes] = []
        self._heard = self._pinged = False
        self._silent = 0
        self._beats: asyncio.TimerHandle | None = None
        self._takes = {
            frames.DATA: self._take_data,
            frames.HEADERS: self._take_headers,
            frames.RST_STREAM: self._take_reset,
            frames.SETTINGS: self._take_settings,
            frames.PUSH_PROMISE: self._take_push,
            frames.PING: self._take_ping,
            frames.GOAWAY: self._take_goaway,
            frames.WINDOW_UPDATE: self._take_window,
            frames.CONTINUATION: self._take_continuation,
        }

    def takes(self, size: int) -> bool:
        """Whether a call whose message has this size can be made now."""
        framed = size + _PREFIX_BYTES
        return (
            self._serving
            and not self._leaving
            and not self._paused
            and framed <= self._window
            and framed <= self._frame_bytes_max
            and framed <= self._initial_window
            and len(self._calls) < self._streams_max
        )

    async def ask(self, path: str, fields: bytes, message: bytes, timeout_s: float) -> Answer:
        """Makes a call; `fields` are its metadata, as a piece of a header block. Check `takes` before.

        Raises Unsent, Broken, Reset, TooLong, and TimeoutError when the time is over.
        """
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        if self._next_stream > frames.WINDOW_MAX:
            self._leaving = True
        call = self._calls[stream] = _Call(self._loop.create_future())
        timer = self._loop.call_later(timeout_s, self._expire, stream)
        self._send(stream, path, frames.timeout(timeout_s) + fields, message)
        try:
            return await call.answer
        except asyncio.CancelledError:
            self._drop(stream)
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Takes no more calls, and ends with the last of those that run."""
        self._leaving = True
        if not self._calls:
            self._transport.close()

    def close(self) -> None:
        """Ends now: calls that run break."""
        self._transport.abort()

    def _send(self, stream: int, path: str, fields: bytes, message: bytes) -> None:
        opening = self._openings.get(path)
        if opening is None:
            opening = frames.opening(path, self._authority, secure=self._secure)
            self._openings[path] = opening
        number, size = stream.to_bytes(4, "big"), len(message)
        framed = size + _PREFIX_BYTES
        self._window -= framed
        self._write(
            b"".join(
                (
                    (len(opening) + len(fields)).to_bytes(3, "big"),
                    b"\x01\x04",  # HEADERS, END_HEADERS
                    number,
                    opening,
                    fields,
                    framed.to_bytes(3, "big"),
                    b"\x00\x01",  # DATA, END_STREAM
                    number,
                    b"\x00",  # not compressed
                    size.to_bytes(4, "big"),
                    message,
                )
            )
        )

    def _write(self, frame: bytes) -> None:
        # What is sent in one turn of the event loop is one write: it costs more than all else of a call.
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(frame)

    def _flush(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says what we want, and asks for the server's health."""
        self._transport = transport  # type: ignore[assignment] # of a connection it is one
        ours = {
            frames.HEADER_TABLE_SIZE: 0,
            frames.ENABLE_PUSH: 0,
            # A message fits whole; so no call waits for us to let the server go on.
            frames.INITIAL_WINDOW: max(self._framed_max, frames.WINDOW_DEFAULT),
            frames.FRAME_BYTES_MAX: FRAME_BYTES_MAX,
            frames.HEADERS_BYTES_MAX: frames.HEADER_LIST_BYTES_MAX,
        }
        more = frames.WINDOW_MAX - frames.WINDOW_DEFAULT
        self._transport.write(frames.PREFACE + frames.settings(ours) + frames.window_update(0, more))
        self._beats = self._loop.call_later(BEAT_S, self._beat)
        if self._health is None:
            self._serving = True
            return
        self._next_stream = _HEALTH_STREAM + 2
        request = health_pb2.HealthCheckRequest(service=self._health)
        self._send(_HEALTH_STREAM, _HEALTH_PATH, b"", request.SerializeToString())

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever runs is broken."""
        self._leaving = True
        if self._beats is not None:
            self._beats.cancel()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            _fail(call, Broken(str(exc or "the connection was closed")))
        self._on_gone()

    def pause_writing(self) -> None:
        """The server does not read: calls go elsewhere."""
        self._paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False

    def data_received(self, data: bytes) -> None:
        """Takes the frames that are complete."""
        self._heard = True
        try:
            self._rest = self._take_all(self._rest + data if self._rest else data)
        except ProtocolProblem:
            self._rest = b""
            self._transport.write(frames.frame(frames.GOAWAY, 0, 0, bytes(7) + b"\x01"))
            self.close()

    def _take_all(self, data: bytes) -> bytes:
        at, end = 0, len(data)
        while end - at >= frames.HEAD_BYTES:
            high, low, kind, flags, stream = frames.read_head(data, at)
            size = high << 8 | low
            if size > FRAME_BYTES_MAX:
                raise ProtocolProblem("a frame that is too large")
            begin = at + frames.HEAD_BYTES
            if begin + size > end:
                break
            at = begin + size
            if self._block is not None and kind != frames.CONTINUATION:
                raise ProtocolProblem("headers that are broken off")
            take = self._takes.get(kind)
            # Kinds that are not known are passed over.
            if take is not None:
                take(flags, stream & frames.WINDOW_MAX, data[begin:at])
        return data[at:]

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._take_block(flags, flags, stream, frames.unpadded(flags, payload))

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ProtocolProblem("headers that go on without a beginning")
        _, first_flags, before = self._block
        self._take_block(first_flags, flags, stream, before + payload)

    def _take_ping(self, flags: int, _stream: int, payload: bytes) -> None:
        if not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _take_window(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream == 0:
            self._window += frames.number_in(payload)

    def _take_push(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ProtocolProblem("a push, which we refused")

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged > _WINDOW_EVERY:
            self._write(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        if flags & frames.PADDED:
            payload = frames.unpadded(flags & frames.PADDED, payload)
        call = self._calls.get(stream)
        if call is not None:
            call.parts.append(payload)
            call.size += len(payload)
            if call.size > self._framed_max:
                self._drop(stream)
                _fail(call, TooLong())
            elif flags & frames.END_STREAM:
                self._end(stream, call, {})
        elif stream == _HEALTH_STREAM:
            self._take_report(payload)

    def _take_block(self, first_flags: int, flags: int, stream: int, block: bytes) -> None:
        if not flags & frames.END_HEADERS:
            if len(block) > frames.HEADER_LIST_BYTES_MAX:
                raise ProtocolProblem("headers without an end")
            self._block = (stream, first_flags, block)
            return
        self._block = None
        fields, call = frames.fields_of(block), self._calls.get(stream)
        is_last = first_flags & frames.END_STREAM
        if call is None:
            if stream == _HEALTH_STREAM and self._health is not None and is_last:
                self._health_ended(fields)
        elif is_last:
            self._end(stream, call, fields)
        elif call.ahead is None:
            call.ahead = fields

    def _end(self, stream: int, call: _Call, behind: Mapping[str, str]) -> None:
        del self._calls[stream]
        parts = call.parts
        framed = parts[0] if len(parts) == 1 else b"".join(parts)
        if not call.answer.done():
            call.answer.set_result(Answer(call.ahead or behind, framed, behind))
        self._after_a_call()

    def _take_reset(self, _flags: int, stream: int, payload: bytes) -> None:
        code = frames.number_in(payload)
        if stream == _HEALTH_STREAM and self._health is not None:
            raise ProtocolProblem("no more reports of health")
        call = self._calls.pop(stream, None)
        if call is not None:
            _fail(call, Unsent() if code == frames.REFUSED_STREAM else Reset(code))
            self._after_a_call()

    def _expire(self, stream: int) -> None:
        call = self._calls.get(stream)
        if call is not None:
            self._drop(stream)
            _fail(call, TimeoutError())

    def _drop(self, stream: int) -> None:
        if self._calls.pop(stream, None) is not None:
            self._write(frames.reset(stream))
            self._after_a_call()

    def _after_a_call(self) -> None:
        if self._leaving and not self._calls:
            self._transport.close()

    def _take_goaway(self, _flags: int, _stream: int, payload: bytes) -> None:
        last_stream = frames.number_in(payload)
        self._leaving = True
        for stream in [stream for stream in self._calls if stream > last_stream]:
            _fail(self._calls.pop(stream), Unsent())
        self._after_a_call()

    def _take_settings(self, flags: int, _stream: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        for name, value in frames.settings_in(payload):
            if name == frames.INITIAL_WINDOW:
                self._initial_window = value
            elif name == frames.FRAME_BYTES_MAX:
                self._frame_bytes_max = value
            elif name == frames.STREAMS_MAX:
                self._streams_max = value
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _take_report(self, payload: bytes) -> None:
        self._report += payload
        while len(self._report) >= _PREFIX_BYTES:
            end = _PREFIX_BYTES + int.from_bytes(self._report[1:_PREFIX_BYTES], "big")
            if len(self._report) < end:
                # One has a few bytes.
                if end > _REPORT_BYTES_MAX:
                    raise ProtocolProblem("no report of health")
                return
            try:
                told = health_pb2.HealthCheckResponse.FromString(self._report[_PREFIX_BYTES:end])
            except DecodeError as problem:
                raise ProtocolProblem("no report of health") from problem
            self._serving = told.status == health_pb2.HealthCheckResponse.SERVING
            self._report = self._report[end:]

    def _health_ended(self, fields: Mapping[str, str]) -> None:
        # As gRPC's channels have it: who reports nothing is believed to serve. 12 is UNIMPLEMENTED.
        if fields.get("grpc-status") != "12":
            raise ProtocolProblem("no more reports of health")
        self._serving = True

    def _beat(self) -> None:
        if self._heard:
            self._heard, self._pinged, self._silent = False, False, 0
        elif self._pinged:
            self.close()
            return
        else:
            self._silent += 1
            if self._silent >= _SILENT_BEATS:
                self._pinged = True
                self._write(frames.frame(frames.PING, 0, 0, bytes(8)))
        self._beats = self._loop.call_later(BEAT_S, self._beat)


def _fail(call: _Call, problem: Exception) -> None:
    if not call.answer.done():
        call.answer.set_exception(problem)
