"""A block out of a node's answer: whatever the pieces, and never more in memory than a piece."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chain.adapters.downloads import save_hex_result


async def pieces(answer: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(answer), size):
        yield answer[start : start + size]


async def saved(answer: bytes, size: int) -> bytes:
    file = io.BytesIO()
    await save_hex_result(pieces(answer, size), file)
    return file.getvalue()


@given(data=st.binary(max_size=300), size=st.integers(1, 40))
async def test_the_pieces_do_not_matter(data: bytes, size: int) -> None:
    answer = b'{"result": "' + data.hex().encode() + b'","error":null,"id":0}\n'
    assert await saved(answer, size) == data


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b'{"result"',
        b'{"result":null,"error":{"code":-5,"message":"Block not found"},"id":0}',
        b'{"result":"00aa',
        b'{"result":"00a","error":null,"id":0}',
        b'{"result":"zz","error":null,"id":0}',
        b"<html>",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_what_is_no_block_is_said_to_be_none(answer: bytes, size: int) -> None:
    with pytest.raises(ValueError, match=r"answer|hexadecimal|Odd"):
        await saved(answer, size)
