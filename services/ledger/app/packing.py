"""An image as parts of bounded size: a line of names and lengths (JSON), then the sections, end to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from services.ledger.domain.image import BadImage

PART_BYTES = 900_000


def pack(sections: Mapping[str, bytes]) -> list[bytes]:
    """Parts of PART_BYTES, the last one smaller."""
    sizes = [(name, len(section)) for name, section in sections.items()]
    parts, filling = [], bytearray()
    for piece in _pieces(orjson.dumps(sizes) + b"\n", *sections.values()):
        filling += piece
        if len(filling) >= PART_BYTES:
            parts.append(bytes(filling[:PART_BYTES]))
            del filling[:PART_BYTES]
    if filling:
        parts.append(bytes(filling))
    return parts


def unpack(content: bytearray) -> dict[str, bytes]:
    """The sections. Raises BadImage."""
    try:
        at = content.index(b"\n") + 1
        sizes = orjson.loads(content[:at])
        sections, view = {}, memoryview(content)
        for name, size in sizes:
            sections[name] = bytes(view[at : at + size])
            at += size
    except (ValueError, TypeError) as problem:
        raise BadImage("the sections cannot be told apart") from problem
    if at != len(content):
        raise BadImage("the sections are longer or shorter than said")
    return sections


def _pieces(*sections: bytes) -> Iterator[memoryview]:
    for section in sections:
        view = memoryview(section)
        for at in range(0, len(view), PART_BYTES):
            yield view[at : at + PART_BYTES]
