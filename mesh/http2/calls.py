"""A call on a connection, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

# Ahead of each message: whether it is compressed, and its length (gRPC's PROTOCOL-HTTP2.md).
PREFIX_BYTES = 5


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


class Call:
    """A call that runs: what came of its answer so far."""

    __slots__ = ("ahead", "answer", "parts", "size")

    def __init__(self, answer: asyncio.Future[Answer]) -> None:
        self.answer = answer
        self.ahead: Mapping[str, str] | None = None
        self.parts: list[bytes] = []
        self.size = 0

    def end(self, behind: Mapping[str, str]) -> None:
        """The answer is complete."""
        parts = self.parts
        framed = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self.answer.done():
            self.answer.set_result(Answer(self.ahead or behind, framed, behind))

    def fail(self, problem: Exception) -> None:
        """There will be no answer."""
        if not self.answer.done():
            self.answer.set_exception(problem)


def written(stream: int, opening: bytes, fields: bytes, message: bytes) -> bytes:
    """The frames of a call: a header block in two pieces, and the message."""
    number, size = stream.to_bytes(4, "big"), len(message)
    return b"".join(
        (
            (len(opening) + len(fields)).to_bytes(3, "big"),
            b"\x01\x04",  # HEADERS, END_HEADERS
            number,
            opening,
            fields,
            (size + PREFIX_BYTES).to_bytes(3, "big"),
            b"\x00\x01",  # DATA, END_STREAM
            number,
            b"\x00",  # not compressed
            size.to_bytes(4, "big"),
            message,
        )
    )
