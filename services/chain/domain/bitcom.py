"""What data outputs carry by the Bitcom convention: protocols one behind the other, a pipe between them.

B (unwriter/B) holds a file, MAP (rohenaz/MAP) keys and values. Who signed it: `aip`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from services.chain.domain.scripts import OP_0, OP_RETURN, BadScript, Op, operations, pushes

MAP_PREFIX = b"1PuQa7K62MiKCtssSLKy1kh56WWU7MtUR5"
B_PREFIX = b"19HxigV4QyBv3tHpQVcUEQyq1pzZVdoAut"
SET = b"SET"
PIPE = b"|"
APP = "satreel"
"""What MAP says of everything that Satreel writes."""


def data_output(fields: Iterable[bytes]) -> bytes:
    """The script of an output that nobody can spend: OP_FALSE OP_RETURN and the fields."""
    return bytes((OP_0, OP_RETURN)) + pushes(fields)


def read_data_output(script: bytes) -> list[bytes]:
    """The fields behind OP_RETURN, or OP_FALSE OP_RETURN. Raises BadScript."""
    ops = list(operations(script))
    codes = [op.code for op in ops[:2]]
    if codes == [OP_0, OP_RETURN]:
        rest = ops[2:]
    elif codes[:1] == [OP_RETURN]:
        rest = ops[1:]
    else:
        raise BadScript("not a data output: it does not begin with OP_RETURN or OP_FALSE OP_RETURN")
    fields = pushed(rest)
    if len(fields) < len(rest):
        raise BadScript("an operation that is no push stands in the data")
    return fields


def pushed(ops: Iterable[Op]) -> list[bytes]:
    """What the operations push, up to the first that pushes nothing."""
    found: list[bytes] = []
    for op in ops:
        if op.pushed is None:
            break
        found.append(op.pushed)
    return found


def file_fields(data: bytes, mime: str, filename: str) -> list[bytes]:
    """The fields of B."""
    return [B_PREFIX, data, mime.encode(), b"UTF-8", filename.encode()]


def map_fields(values: Mapping[str, str]) -> list[bytes]:
    """The fields of MAP SET."""
    return [MAP_PREFIX, SET, *(part.encode() for part in chain.from_iterable(values.items()))]


def read_map(fields: Sequence[bytes]) -> dict[str, str]:
    """What the MAP SETs among the fields say, the last value of a key; {} when there is none.

    As public readers do: other commands, a key without a value, and what is not UTF-8 are passed over.
    """
    found: dict[str, str] = {}
    for protocol in protocols(fields):
        if protocol[:2] != [MAP_PREFIX, SET]:
            continue
        for key, value in zip(protocol[2::2], protocol[3::2], strict=False):
            try:
                found[key.decode()] = value.decode()
            except UnicodeDecodeError:
                continue
    return found


def protocols(fields: Sequence[bytes]) -> list[list[bytes]]:
    """The fields, parted at the pipes."""
    found: list[list[bytes]] = [[]]
    for one in fields:
        if one == PIPE:
            found.append([])
        else:
            found[-1].append(one)
    return found
