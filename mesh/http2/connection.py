"""One connection to a server, and the unary calls on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from mesh.http2 import frames
from mesh.http2.allowance import Allowance
from mesh.http2.calls import PREFIX_BYTES, Answer, Broken, Call, Reset, TooLong, Unsent, written
from mesh.http2.frames import ProtocolProblem
from mesh.http2.health import HEALTH_PATH, HEALTH_STREAM, Health
from mesh.http2.incoming import FRAME_BYTES_MAX, Incoming
from mesh.http2.pulse import Pulse

# So much may be read before the other side is told that it may send more.
_WINDOW_EVERY = 1 << 28


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
        self._framed_max = message_bytes_max + PREFIX_BYTES
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._calls: dict[int, Call] = {}
        self._openings: dict[str, bytes] = {}
        self._next_stream = 1
        # No new calls: it is to end, or has ended.
        self._leaving = False
        self._paused = False
        self._unacknowledged = 0
        self._unwritten: list[bytes] = []
        self._allowance = Allowance()
        self._health = Health(health)
        self._pulse = Pulse(self._ping, self.close)
        self._incoming = Incoming(
            {
                frames.DATA: self._take_data,
                frames.RST_STREAM: self._take_reset,
                frames.SETTINGS: self._take_settings,
                frames.PING: self._take_ping,
                frames.GOAWAY: self._take_goaway,
                frames.WINDOW_UPDATE: self._take_window,
            },
            self._take_fields,
        )

    def takes(self, size: int) -> bool:
        """Whether a call whose message has this size can be made now."""
        return (
            self._health.serves
            and not self._leaving
            and not self._paused
            and self._allowance.fits(size + PREFIX_BYTES, len(self._calls))
        )

    async def ask(self, path: str, fields: bytes, message: bytes, timeout_s: float) -> Answer:
        """Makes a call; `fields` are its metadata, as a piece of a header block. Check `takes` before.

        Raises Unsent, Broken, Reset, TooLong, and TimeoutError when the time is over.
        """
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        if self._next_stream > frames.WINDOW_MAX:
            self._leaving = True
        call = self._calls[stream] = Call(self._loop.create_future())
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
        self._close_when_idle()

    def close(self) -> None:
        """Ends now: calls that run break."""
        self._transport.abort()

    def _send(self, stream: int, path: str, fields: bytes, message: bytes) -> None:
        opening = self._openings.get(path)
        if opening is None:
            opening = frames.opening(path, self._authority, secure=self._secure)
            self._openings[path] = opening
        self._allowance.window -= len(message) + PREFIX_BYTES
        self._write(written(stream, opening, fields, message))

    def _write(self, frame: bytes) -> None:
        # What is sent in one turn of the event loop is one write: it costs more than all else of a call.
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(frame)

    def _flush(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    # What the event loop tells.

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
        self._pulse.start()
        if (question := self._health.question) is not None:
            self._next_stream = HEALTH_STREAM + 2
            self._send(HEALTH_STREAM, HEALTH_PATH, b"", question)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever runs is broken."""
        self._leaving = True
        self._pulse.stop()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(Broken(str(exc or "the connection was closed")))
        self._on_gone()

    def pause_writing(self) -> None:
        """The server does not read: calls go elsewhere."""
        self._paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False

    def data_received(self, data: bytes) -> None:
        """Takes the frames that are complete."""
        self._pulse.heard = True
        try:
            self._incoming.take(data)
        except ProtocolProblem:
            self._transport.write(frames.frame(frames.GOAWAY, 0, 0, bytes(7) + b"\x01"))
            self.close()

    # What the server says of a call.

    def _take_fields(self, stream: int, is_last: bool, fields: Mapping[str, str]) -> None:
        call = self._calls.get(stream)
        if call is None:
            if is_last and self._health.owns(stream):
                self._health.end(fields)
        elif is_last:
            self._end(stream, call, fields)
        elif call.ahead is None:
            call.ahead = fields

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
                call.fail(TooLong())
            elif flags & frames.END_STREAM:
                self._end(stream, call, {})
        elif self._health.owns(stream):
            self._health.take(payload)

    def _take_reset(self, _flags: int, stream: int, payload: bytes) -> None:
        code = frames.number_in(payload)
        if self._health.owns(stream):
            raise ProtocolProblem("no more reports of health")
        call = self._calls.pop(stream, None)
        if call is not None:
            call.fail(Unsent() if code == frames.REFUSED_STREAM else Reset(code))
            self._close_when_idle()

    def _end(self, stream: int, call: Call, behind: Mapping[str, str]) -> None:
        del self._calls[stream]
        call.end(behind)
        self._close_when_idle()

    def _expire(self, stream: int) -> None:
        call = self._calls.get(stream)
        if call is not None:
            self._drop(stream)
            call.fail(TimeoutError())

    def _drop(self, stream: int) -> None:
        if self._calls.pop(stream, None) is not None:
            self._write(frames.reset(stream))
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self._leaving and not self._calls:
            self._transport.close()

    # What it says of the connection.

    def _take_settings(self, flags: int, _stream: int, payload: bytes) -> None:
        if not flags & frames.ACK:
            self._allowance.set(payload)
            self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _take_window(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream == 0:
            self._allowance.window += frames.number_in(payload)

    def _take_ping(self, flags: int, _stream: int, payload: bytes) -> None:
        if not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _take_goaway(self, _flags: int, _stream: int, payload: bytes) -> None:
        last_stream = frames.number_in(payload)
        self._leaving = True
        for stream in [stream for stream in self._calls if stream > last_stream]:
            self._calls.pop(stream).fail(Unsent())
        self._close_when_idle()

    def _ping(self) -> None:
        self._write(frames.frame(frames.PING, 0, 0, bytes(8)))
