"""Frames of HTTP/2 (RFC 9113) and header blocks (RFC 7541) as gRPC's calls need them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20

# Settings.
HEADER_TABLE_SIZE, ENABLE_PUSH, STREAMS_MAX, INITIAL_WINDOW, FRAME_BYTES_MAX, HEADERS_BYTES_MAX = range(1, 7)

# Error codes.
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11

WINDOW_MAX = 2**31 - 1
WINDOW_DEFAULT = 65_535
FRAME_BYTES_DEFAULT = 16_384
# Of what answers say beside their message.
HEADER_LIST_BYTES_MAX = 64 * 1024

# Length (in two parts), type, flags, stream.
read_head = struct.Struct(">HBBBI").unpack_from
_BLOCKS_REMEMBERED = 256


class ProtocolProblem(Exception):  # noqa: N818 - the other side's
    """What came is no HTTP/2, or not as we asked for it: the connection is of no more use."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame, ready to be sent."""
    return b"".join(
        (len(payload).to_bytes(3, "big"), bytes((kind, flags)), stream.to_bytes(4, "big"), payload)
    )


def settings(values: Mapping[int, int]) -> bytes:
    """A frame with our settings."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in values.items()))


def settings_in(payload: bytes) -> Iterable[tuple[int, int]]:
    """The settings of a frame's payload. Raises ProtocolProblem."""
    if len(payload) % 6:
        raise ProtocolProblem("settings of a wrong length")
    return struct.iter_unpack(">HI", payload)


def window_update(stream: int, by: int) -> bytes:
    """A frame that lets the other side send so much more."""
    return frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


def reset(stream: int, code: int = CANCEL) -> bytes:
    """A frame that ends a call."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def number_in(payload: bytes) -> int:
    """The 31 bits that a frame begins with. Raises ProtocolProblem."""
    if len(payload) < 4:
        raise ProtocolProblem("a frame that is too short")
    return int.from_bytes(payload[:4], "big") & WINDOW_MAX


def unpadded(flags: int, payload: bytes) -> bytes:
    """What a frame of data or headers carries. Raises ProtocolProblem."""
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolProblem("padding without a length")
        begin, end = 1, end - payload[0]
    if flags & PRIORITY:
        begin += 5
    if begin > end:
        raise ProtocolProblem("more padding than frame")
    return payload[begin:end]


def opening(path: str, authority: str, *, secure: bool) -> bytes:
    """The beginning of a call's header block, the same for all calls of a method."""
    # Whole fields and names that stand in RFC 7541's static table: POST, the scheme; :path, :authority.
    whole = b"\x83\x87" if secure else b"\x83\x86"
    own = literal("te", "trailers") + literal("content-type", "application/grpc")
    return whole + b"\x04" + _text(path) + b"\x01" + _text(authority) + own


def literal(name: str, value: str) -> bytes:
    """A field of a header block, written out and not to be remembered by the other side."""
    return b"\x00" + _text(name) + _text(value)


def timeout(seconds: float) -> bytes:
    """The field that tells the server how much time there is."""
    milliseconds = max(1, int(seconds * 1000))
    value = b"%dm" % milliseconds if milliseconds < 100_000_000 else b"%dS" % min(99_999_999, int(seconds))
    return b"\x00\x0cgrpc-timeout%c%s" % (len(value), value)


@lru_cache(_BLOCKS_REMEMBERED)
def fields_of(block: bytes) -> Mapping[str, str]:
    """The fields of a header block, the last of each name. Raises ProtocolProblem.

    The other side was told to remember nothing, so a block means the same whenever it comes.
    """
    decoder = hpack.Decoder(HEADER_LIST_BYTES_MAX)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        found = decoder.decode(block, raw=True)
        return MappingProxyType({name.decode(): value.decode() for name, value in found})
    except (hpack.HPACKError, UnicodeDecodeError) as problem:
        raise ProtocolProblem(f"a header block that cannot be read: {problem}") from problem


def _text(value: str) -> bytes:
    written = value.encode()
    return _length(len(written)) + written


def _length(value: int) -> bytes:
    if value < 127:
        return bytes((value,))
    value -= 127
    found = bytearray((127,))
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
