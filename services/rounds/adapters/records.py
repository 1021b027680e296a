"""Rounds, candidates and cursors in the record store.

A round's key is its number, so that a number can be begun only once; candidates are keyed by meme.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
from pydantic import TypeAdapter

from mesh.records import KEYS_MAX, Bins, Exists, InDoubt, Record, SetSpec, Store, change, query_all
from services.rounds.app.ports import Stored
from services.rounds.domain.assignment import Candidate
from services.rounds.domain.values import InstantNs, MemeId, Round, RoundId, UserId

ROUNDS, CANDIDATES, CURSORS = "rounds", "candidates", "cursors"
SETS = (
    SetSpec(ROUNDS, indexes={"id": str, "anchor": str, "txid_awaited": int}),
    SetSpec(CANDIDATES, indexes={"state": str}),
    SetSpec(CURSORS),
)

WAITING = "waiting"
NUMBER_DIGITS = 12
_CODEC: TypeAdapter[Round] = TypeAdapter(Round)


class RoundRecords:
    """Rounds by number."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def newest(self) -> Stored | None:
        """The round with the highest number."""
        found = await self._store.scan(ROUNDS, limit=1, descending=True)
        return _stored(found[0]) if found else None

    async def begin(self, round_: Round) -> Stored:
        """Writes a round that does not exist yet. Raises Exists and the store's errors."""
        return Stored(round_, await self._store.create(ROUNDS, _key(round_.number), _bins(round_)))

    async def save(self, stored: Stored, round_: Round) -> Stored:
        """Replaces what was read. Raises Stale and the store's errors."""
        key = _key(round_.number)
        return Stored(round_, await self._store.put_if(ROUNDS, key, _bins(round_), stored.generation))

    async def by_number(self, number: int) -> Stored | None:
        """The round with this number."""
        record = await self._store.get(ROUNDS, _key(number))
        return _stored(record) if record else None

    async def by_ids(self, round_ids: Sequence[RoundId]) -> list[Stored]:
        """Those that exist, in the order asked."""
        pages = await asyncio.gather(
            *(self._store.query_eq(ROUNDS, "id", round_id, limit=1) for round_id in round_ids)
        )
        return [_stored(page[0]) for page in pages if page]

    async def before(self, number: int, limit: int) -> list[Stored]:
        """Rounds with a lower number, newest first."""
        keys = [_key(found) for found in range(number - 1, max(0, number - 1 - limit), -1)]
        records = await self._store.get_many(ROUNDS, keys) if keys else {}
        return [_stored(records[key]) for key in keys if key in records]

    async def with_anchor(self, block_hash: str) -> list[Stored]:
        """The rounds that stand on this block."""
        return [_stored(found) for found in await self._store.query_eq(ROUNDS, "anchor", block_hash)]

    async def without_txid(self) -> list[Stored]:
        """Recorded rounds whose transaction is not known yet."""
        return [_stored(found) for found in await self._store.query_eq(ROUNDS, "txid_awaited", 1)]


class CandidateRecords:
    """Memes that wait for a round, and those that have left."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Keeps them; returns those that wait (and did not leave before)."""
        known: dict[str, Record] = {}
        for start in range(0, len(candidates), KEYS_MAX):
            keys = [found.meme_id for found in candidates[start : start + KEYS_MAX]]
            known |= await self._store.get_many(CANDIDATES, keys)
        states = await asyncio.gather(
            *(self._added(found) for found in candidates if found.meme_id not in known)
        )
        new = dict(states)
        return [
            found
            for found in candidates
            if (known[found.meme_id].text("state") if found.meme_id in known else new[found.meme_id])
            == WAITING
        ]

    async def waiting(self, limit: int) -> list[Candidate]:
        """Those that wait, earlier uploads first."""
        found: list[Candidate] = []
        async for record in query_all(self._store, CANDIDATES, "state", WAITING):
            found.append(_candidate(record))
            if len(found) == limit:
                break
        return found

    async def leave(self, meme_ids: Sequence[MemeId], why: str) -> None:
        """They wait no more, known or not."""
        await asyncio.gather(*(self._leave(meme_id, why) for meme_id in meme_ids))

    async def _added(self, candidate: Candidate) -> tuple[MemeId, str]:
        bins: Bins = {
            "state": WAITING,
            "creator": candidate.creator_id,
            "quality_ppm": candidate.quality_ppm,
            "published_ns": candidate.published_at_ns,
        }
        try:
            await self._store.create(CANDIDATES, candidate.meme_id, bins)
        except Exists:
            record = await self._store.get(CANDIDATES, candidate.meme_id)
            return candidate.meme_id, record.text("state") if record else WAITING
        return candidate.meme_id, WAITING

    async def _leave(self, meme_id: MemeId, why: str) -> None:
        def left(record: Record) -> Bins | None:
            return {**record.bins, "state": why} if record.text("state") == WAITING else None

        if await change(self._store, CANDIDATES, meme_id, left) is None:
            try:
                await self._store.create(CANDIDATES, meme_id, {"state": why})
            except Exists:
                await change(self._store, CANDIDATES, meme_id, left)


class CursorRecords:
    """Where streams of other services are resumed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, name: str) -> dict[str, str | int]:
        """What was written; empty at first."""
        record = await self._store.get(CURSORS, name)
        return dict(orjson.loads(record.blob("values"))) if record else {}

    async def write(self, name: str, values: dict[str, str | int]) -> None:
        """Replaces it. A write in doubt may be forgotten: what follows an older cursor is only told again."""
        bins: Bins = {"values": orjson.dumps(values)}
        try:
            if await change(self._store, CURSORS, name, lambda _: bins) is None:
                await self._store.create(CURSORS, name, bins)
        except (Exists, InDoubt):
            return


def _key(number: int) -> str:
    return f"{number:0{NUMBER_DIGITS}d}"


def _bins(round_: Round) -> Bins:
    return {
        "id": round_.id,
        "state": round_.state,
        "anchor": round_.anchor.hash if round_.anchor else None,
        "txid_awaited": int(round_.recorded and not round_.txid),
        "round": _CODEC.dump_json(round_),
    }


def _stored(record: Record) -> Stored:
    return Stored(_CODEC.validate_json(record.blob("round")), record.generation)


def _candidate(record: Record) -> Candidate:
    return Candidate(
        MemeId(record.key),
        UserId(record.text("creator")),
        record.integer("quality_ppm"),
        InstantNs(record.integer("published_ns")),
    )
