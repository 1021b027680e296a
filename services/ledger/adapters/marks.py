"""Marks: which blocks of the journal are in the archive. They are only created, in order, and stay for ever.

A mark lies beside the records, so that whoever looks for the next record finds in the same look that it was
archived: no record and no mark means that the journal ends here.
"""

from __future__ import annotations

import orjson

from mesh.clock import Clock
from mesh.records import Store
from services.ledger.adapters.creating import create
from services.ledger.adapters.journal import BLOCK, SET, marks_key
from services.ledger.adapters.searching import first_missing
from services.ledger.adapters.segments import Segment
from services.ledger.app.archive import ArchiveBroken


class Marks:
    """The marks in a record store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, block: int, segments: list[Segment]) -> None:
        """Marks the block: its records are in these files. Another who did the same was as right."""
        rows = [
            (one.first, one.last, one.last_hash.hex(), one.sha256.hex(), one.size_bytes) for one in segments
        ]
        bins = {"segments": orjson.dumps(rows).decode()}
        await create(self._store, self._clock, SET, _key(block), bins)

    async def get(self, block: int) -> list[Segment] | None:
        """The files of a block in order; None when it is not in the archive. Raises ArchiveBroken."""
        record = await self._store.get(SET, _key(block))
        if record is None:
            return None
        try:
            rows = orjson.loads(record.text("segments"))
            return [
                Segment(first, last, bytes.fromhex(last_hash), bytes.fromhex(sha256), size)
                for first, last, last_hash, sha256, size in rows
            ]
        except (ValueError, TypeError) as problem:
            raise ArchiveBroken(f"the mark {record.key} was changed") from problem

    async def count(self) -> int:
        """How many blocks are marked: the first so many."""
        return await first_missing(0, self._is_there)

    async def _is_there(self, block: int) -> bool:
        return await self._store.get(SET, _key(block)) is not None


def _key(block: int) -> str:
    return marks_key(block * BLOCK + 1)
