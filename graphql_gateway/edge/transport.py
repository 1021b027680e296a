"""WebSockets on transports of their own (RFC 6455).

The `websockets` library knows the protocol and touches no network; what is here reads, writes and keeps time.
A socket that waits is a few objects: no task, no queue, and nothing of the HTTP request that it began as.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import SEND_EOF, Protocol, Side, State
from websockets.typing import BytesLike

from graphql_gateway.edge.operations import ClientGone

# With more than this to be taken, nothing is written and nothing is read.
WAITING_BYTES_MAX = 32_768
# What is read at once: of frames of a few bytes each that is 170, a millisecond's work.
SLICE_BYTES = 1_024
# What all who send more may take of one turn of the loop.
TURN_S = 0.002
# Time that a client has to answer our close frame.
CLOSE_S = 3.0
# RFC 6455: a close frame holds 125 bytes, two of them the code.
REASON_BYTES_MAX = 123

_PING = b"\x89\x00"
_DATA = {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}
# The library tells of every connection that ends.
_log = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)


class Line:
    """Sockets that sent much at once: of each a slice is read in turn; others have the loop in between."""

    def __init__(self) -> None:
        self._waiting: deque[WebSocket] = deque()
        self._is_called = False

    def join(self, socket: WebSocket) -> None:
        """It has more to be read."""
        self._waiting.append(socket)
        self._call()

    def _call(self) -> None:
        if self._waiting and not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_called = False
        until_s = time.perf_counter() + TURN_S
        try:
            while self._waiting:
                socket = self._waiting.popleft()
                if socket.read_on():
                    self._waiting.append(socket)
                if time.perf_counter() >= until_s:
                    return
        finally:
            self._call()


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients must keep to; the same object for all of them, as they wait in one line."""

    message_bytes_max: int
    # Time to take what waits to be taken.
    send_s: float
    # Time without a byte until a ping; something must come within half of it.
    ping_s: float
    line: Line = field(default_factory=Line)


class WebSocket(asyncio.Protocol):
    """The server's side of a connection whose handshake is over."""

    __slots__ = (
        "_beat",
        "_deadline",
        "_gone",
        "_heard_s",
        "_is_held",
        "_is_in_line",
        "_is_over",
        "_is_pinged",
        "_is_reading",
        "_is_taken",
        "_limits",
        "_loop",
        "_message",
        "_read_to",
        "_transport",
        "_unread",
        "_waiting",
        "_wire",
        "is_lost",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._wire = Protocol(Side.SERVER, max_size=limits.message_bytes_max, logger=_log)
        self._transport: asyncio.Transport
        # Of a message in fragments, those that came; its first frame says what it is.
        self._message: tuple[Opcode, bytearray] | None = None
        # Came at once and was too much to be read at once, up to where it is read, and whether it is in line.
        self._unread = b""
        self._read_to = 0
        self._is_in_line = False
        self._heard_s = self._loop.time()
        self._beat: asyncio.TimerHandle | None = None
        # Until the client has taken what waits; once it is closing, until it has closed.
        self._deadline: asyncio.TimerHandle | None = None
        self._is_taken = True
        self._is_held = False
        self._is_reading = True
        self._is_pinged = False
        # Nothing is sent or heard any more; then the connection is gone.
        self._is_over = False
        self.is_lost = False
        # Of those who wait until the client takes something, or has gone.
        self._waiting: list[asyncio.Future[None]] = []
        self._gone: asyncio.Future[None] | None = None

    # What a conversation hears.

    def received(self, message: str | bytes) -> None:
        """A whole message: text, or bytes if it was binary."""

    def ended(self) -> None:
        """From now on nothing is sent, and nothing that comes is heard. Once, whoever ended it."""

    def lost(self) -> None:
        """The connection is gone."""

    # What a conversation may do.

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return self._wire.state is State.OPEN and not self._transport.is_closing()

    @property
    def is_broken(self) -> bool:
        """Whether it ended, if it did, without a close frame of either side."""
        return self._wire.close_rcvd is None and self._wire.close_sent is None

    def offer(self, message: bytes) -> bool:
        """Writes a text message at once. False, and nothing is written: it is closed, or too much waits."""
        if not self._is_taken or not self.is_open:
            return False
        self._transport.write(_head(len(message)) + message)
        return True

    async def drained(self) -> None:
        """Once `offer` writes again. Raises ClientGone."""
        while self.is_open:
            if self._is_taken:
                return
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter
        if not self._is_over:
            # The transport broke this moment, and tells it in its next turn: nobody takes it for a farewell.
            await self.gone()
        raise ClientGone

    async def send(self, message: bytes) -> None:
        """Writes a text message, as soon as the client takes it. Raises ClientGone."""
        while not self.offer(message):
            await self.drained()

    def hold(self, is_held: bool) -> None:
        """The client is not listened to while it is held."""
        self._is_held = is_held
        self._mind()

    def end(self, code: int, reason: str) -> None:
        """Sends the close frame, with the reason cut between characters; nothing when one was sent."""
        if not self.is_open:
            return
        cut = reason.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore")
        self._wire.send_close(code, cut)
        self._write_out()

    async def gone(self) -> None:
        """Once the connection is gone."""
        if self.is_lost:
            return
        if self._gone is None:
            self._gone = self._loop.create_future()
        await asyncio.shield(self._gone)

    # What the event loop tells.

    def begin(self, transport: asyncio.Transport, head: bytes, early: bytes) -> None:
        """Takes the transport over: writes the answer to the handshake, and hears what came behind that."""
        self._transport = transport
        transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        self._is_reading = transport.is_reading()
        self._beat = self._loop.call_later(self._limits.ping_s, self._look)
        transport.write(head)
        self._unread = early
        self._mind()

    def data_received(self, data: bytes) -> None:
        """Reads it; slice by slice, if it is much."""
        self._heard_s = self._loop.time()
        if self._unread or len(data) > SLICE_BYTES:
            self._unread, self._read_to = self._unread[self._read_to :] + data, 0
            self._mind()
        else:
            self._read(data)

    def eof_received(self) -> None:
        """The client says no more. What waits for it is still written, for as long as a close may take."""
        self._wire.receive_eof()
        self._write_out()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Lets everything go."""
        self.is_lost = True
        self._wire.receive_eof()
        self._end()
        for handle in (self._beat, self._deadline):
            if handle is not None:
                handle.cancel()
        self._beat = self._deadline = None
        self._unread, self._message = b"", None
        # The library's parser, and what stopped it, hold its connection, and that holds them.
        self._wire.parser.close()
        self._wire.parser_exc = None
        if self._gone is not None:
            self._gone.set_result(None)
        self.lost()

    def pause_writing(self) -> None:
        """The client takes nothing for the moment, and is not listened to as long as that."""
        self._is_taken = False
        if not self._is_over:
            # What nobody takes waits in our memory, and pongs alone would keep the socket open.
            self._deadline = self._loop.call_later(self._limits.send_s, self._transport.abort)
        self._mind()

    def resume_writing(self) -> None:
        """It took most of what waited."""
        self._is_taken = True
        if not self._is_over and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._wake()
        self._mind()

    def read_on(self) -> bool:
        """Reads a slice, for the line. Whether there is more that may be read."""
        if self._unread and self._may_read():
            slice_ = self._unread[self._read_to : self._read_to + SLICE_BYTES]
            self._read_to += len(slice_)
            if self._read_to == len(self._unread):
                self._unread, self._read_to = b"", 0
            self._read(slice_)
        self._is_in_line = bool(self._unread) and self._may_read()
        if not self._is_in_line:
            self._mind()
        return self._is_in_line

    def _read(self, data: bytes) -> None:
        self._wire.receive_data(data)
        for frame in self._wire.events_received():
            if isinstance(frame, Frame):
                self._hear(frame)
                # The library keeps the last one until another comes.
                frame.data = b""
        self._write_out()

    def _may_read(self) -> bool:
        """Who has closed is read to its end."""
        return self._is_over or (self._is_taken and not self._is_held)

    def _mind(self) -> None:
        """Goes on reading, or stops."""
        if self._transport.is_closing():
            return
        may_read = self._may_read()
        if self._unread and may_read and not self._is_in_line:
            self._is_in_line = True
            self._limits.line.join(self)
        may_read = may_read and not self._unread
        if may_read is not self._is_reading:
            self._is_reading = may_read
            (self._transport.resume_reading if may_read else self._transport.pause_reading)()

    def _hear(self, frame: Frame) -> None:
        if frame.opcode not in _DATA:
            return
        if self._message is None and frame.fin:
            self._tell(frame.opcode, frame.data)
            return
        if self._message is None:
            self._message = (frame.opcode, bytearray())
        kind, whole = self._message
        whole += frame.data
        if frame.fin:
            self._message = None
            self._tell(kind, whole)

    def _tell(self, kind: Opcode, whole: BytesLike) -> None:
        if self._is_over:
            return
        if kind is Opcode.BINARY:
            self.received(bytes(whole))
            return
        try:
            text = str(whole, "utf-8")
        except UnicodeDecodeError:
            self._wire.fail(CloseCode.INVALID_DATA, "Text is UTF-8")
            self._write_out()
        else:
            self.received(text)

    def _write_out(self) -> None:
        """Sends what the protocol has to say: pongs, and how it ends."""
        told = self._wire.data_to_send()
        if told and not self._transport.is_closing():
            if frames := b"".join(told):
                self._transport.write(frames)
            if told[-1] == SEND_EOF:
                self._say_no_more()
        if self._wire.state is not State.OPEN:
            self._end()

    def _say_no_more(self) -> None:
        if self._wire.close_rcvd is not None:
            self._transport.close()
        else:
            # Bytes of the client that nobody read would, on closing, undo what we have just told it.
            self._transport.write_eof()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(CLOSE_S, self._transport.abort)
        self._wake()
        self._mind()
        self.ended()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _look(self) -> None:
        """Pings who was quiet for long, and drops who is quiet then."""
        if self._is_over:
            return
        quiet_s, ping_s = self._loop.time() - self._heard_s, self._limits.ping_s
        again_s = ping_s
        if not self._is_reading:
            # Who is not listened to is not heard.
            self._is_pinged = False
        elif quiet_s < ping_s:
            self._is_pinged = False
            again_s = ping_s - quiet_s
        elif self._is_pinged:
            self._transport.abort()
            return
        else:
            self._is_pinged = True
            self._transport.write(_PING)
            again_s = ping_s / 2
        self._beat = self._loop.call_later(again_s, self._look)


def _head(length: int) -> bytes:
    """Of an unmasked frame with a whole text message, as servers send it (RFC 6455, 5.2)."""
    if length < 126:
        return b"\x81%c" % length
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2)
    return b"\x81\x7f" + length.to_bytes(8)
