"""A block out of a node's answer into a file: on mainnet blocks are larger than memory."""

from __future__ import annotations

import binascii
import re
from collections.abc import AsyncIterator
from typing import BinaryIO

PIECE_BYTES = 1 << 18
_BEGIN, _BEGIN_BYTES_MAX, _END = re.compile(rb'\s*\{\s*"result"\s*:\s*"'), 64, b'"'


async def save_hex_result(pieces: AsyncIterator[bytes], file: BinaryIO) -> None:
    """Writes the bytes that `result` of a JSON-RPC answer spells. Raises ValueError: none, or a part."""
    held, begun = b"", False
    async for piece in pieces:
        held += piece
        if not begun:
            if (begin := _BEGIN.match(held)) is None:
                if len(held) > _BEGIN_BYTES_MAX:
                    raise ValueError("the answer is no text")
                continue
            held, begun = held[begin.end() :], True
        text, end, _ = held.partition(_END)
        even = len(text) - len(text) % 2
        file.write(binascii.unhexlify(text[:even]))
        held = text[even:]
        if end:
            if held:
                raise ValueError("the answer has half a byte")
            file.flush()
            return
    raise ValueError("the answer ends too early")
