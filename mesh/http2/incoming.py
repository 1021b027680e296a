"""What comes over a connection: cut into frames, and header blocks put together from theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mesh.http2 import frames
from mesh.http2.frames import ProtocolProblem

FRAME_BYTES_MAX = 1 << 18
_MORE_THAN_FIELDS = frames.PADDED | frames.PRIORITY

# Flags, stream and payload of a frame.
Take = Callable[[int, int, bytes], None]
# Stream, whether it is the last of its stream, and the fields of a header block.
TakeFields = Callable[[int, bool, Mapping[str, str]], None]


class Incoming:
    """Hands each frame to what `takes` its kind, and each header block to `take_fields`.

    Kinds that nobody takes are passed over.
    """

    def __init__(self, takes: Mapping[int, Take], take_fields: TakeFields) -> None:
        self._takes = {
            **takes,
            frames.HEADERS: self._take_headers,
            frames.CONTINUATION: self._take_continuation,
            frames.PUSH_PROMISE: self._take_push,
        }
        self._take_fields = take_fields
        # What was read of an unfinished frame, and of an unfinished header block.
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None

    def take(self, data: bytes) -> None:
        """Takes the frames that are complete. Raises ProtocolProblem: nothing may be taken after that."""
        if self._rest:
            data, self._rest = self._rest + data, b""
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
            if take is not None:
                take(flags, stream & frames.WINDOW_MAX, data[begin:at])
        self._rest = data[at:]

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & _MORE_THAN_FIELDS:
            payload = frames.unpadded(flags, payload)
        self._take_block(flags, flags, stream, payload)

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ProtocolProblem("headers that go on without a beginning")
        _, first_flags, before = self._block
        self._take_block(first_flags, flags, stream, before + payload)

    def _take_block(self, first_flags: int, flags: int, stream: int, block: bytes) -> None:
        if flags & frames.END_HEADERS:
            self._block = None
            self._take_fields(stream, first_flags & frames.END_STREAM != 0, frames.fields_of(block))
        elif len(block) > frames.HEADER_LIST_BYTES_MAX:
            raise ProtocolProblem("headers without an end")
        else:
            self._block = (stream, first_flags, block)

    def _take_push(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ProtocolProblem("a push, which we refused")
