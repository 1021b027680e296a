"""Memes, claims and the shelf as records.

A meme is one record, with its versions, stages and task: each step of the pipeline is one compare-and-set.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from pydantic import TypeAdapter

from mesh.records import Bins, Exists, Record, SetSpec, Store, query_all
from services.content.app.ports import Claim, ClaimState, Kept
from services.content.domain.looks import BANDS, Look
from services.content.domain.memes import Meme, MemeState, Task, Version
from services.content.domain.values import InstantNs, MemeId, Sha256, UserId

MEMES, CLAIMS, SHELF = "memes", "claims", "shelf"
UNFINISHED = 1
# Store pages read for one page of a list that filters what it reads.
STORE_PAGES_MAX = 5

SETS = (
    SetSpec(MEMES, indexes={"state": str, "creator_id": str, "unfinished": int}),
    SetSpec(
        CLAIMS, indexes={"state": str, "sha256": str, **{f"band{number}": str for number in range(BANDS)}}
    ),
    SetSpec(SHELF, indexes={"on": int, "creator_id": str}),
)
_VERSIONS = TypeAdapter(tuple[Version, ...])
_TASK = TypeAdapter(Task)


class MemeRecords:
    """The port `Memes`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, meme_id: MemeId) -> Kept | None:
        """The meme, or None."""
        record = await self._store.get(MEMES, meme_id)
        return None if record is None else Kept(_meme(record), record.generation)

    async def get_many(self, meme_ids: Sequence[MemeId]) -> dict[MemeId, Meme]:
        """Those that exist."""
        found = await self._store.get_many(MEMES, list(dict.fromkeys(meme_ids)))
        return {MemeId(key): _meme(record) for key, record in found.items()}

    async def create(self, meme: Meme) -> int:
        """Writes a new meme."""
        return await self._store.create(MEMES, meme.id, _meme_bins(meme))

    async def put(self, meme: Meme, generation: int) -> int:
        """Replaces a meme that still has this generation."""
        return await self._store.put_if(MEMES, meme.id, _meme_bins(meme), generation)

    async def unfinished(self) -> AsyncIterator[Kept]:
        """All memes with a task."""
        async for record in query_all(self._store, MEMES, "unfinished", UNFINISHED):
            yield Kept(_meme(record), record.generation)

    async def page(
        self, *, state: MemeState | None, creator_id: UserId | None, after: str, limit: int
    ) -> tuple[list[Meme], str]:
        """Newest upload first."""
        memes: list[Meme] = []
        for _ in range(STORE_PAGES_MAX):
            records = await self._records(state, creator_id, after, limit)
            for record in records:
                after = record.key
                if state is None or record.text("state") == state:
                    memes.append(_meme(record))
                if len(memes) == limit:
                    return memes, after
            if len(records) < limit:
                return memes, ""
        return memes, after

    async def _records(
        self, state: MemeState | None, creator_id: UserId | None, after: str, limit: int
    ) -> list[Record]:
        if creator_id is not None:
            return await self._store.query_eq(
                MEMES, "creator_id", creator_id, after=after, limit=limit, descending=True
            )
        if state is not None:
            return await self._store.query_eq(
                MEMES, "state", state, after=after, limit=limit, descending=True
            )
        return await self._store.scan(MEMES, after=after, limit=limit, descending=True)


class ShelfRecords:
    """The port `Shelf`: keys are the instant of publication and the meme's id."""

    def __init__(self, store: Store, memes: MemeRecords) -> None:
        self._store = store
        self._memes = memes

    async def add(self, meme: Meme) -> None:
        """Puts a meme on it."""
        try:
            await self._store.create(
                SHELF, _shelf_key(meme), {"meme_id": meme.id, "creator_id": meme.creator_id, "on": 1}
            )
        except Exists:
            return

    async def remove(self, meme: Meme) -> None:
        """Takes it off; should the record come back, the meme's own state still keeps it from being read."""
        await self._store.delete(SHELF, _shelf_key(meme))

    async def page(self, *, creator_id: UserId | None, after: str, limit: int) -> tuple[list[Meme], str]:
        """Oldest publication first."""
        if creator_id is None:
            records = await self._store.query_eq(SHELF, "on", 1, after=after, limit=limit)
        else:
            records = await self._store.query_eq(SHELF, "creator_id", creator_id, after=after, limit=limit)
        memes = await self._memes.get_many([MemeId(record.text("meme_id")) for record in records])
        found = []
        for record in records:
            meme = memes.get(MemeId(record.text("meme_id")))
            # A crash may have left a place of a publication that did not come about.
            if meme and meme.state is MemeState.PUBLISHED and _shelf_key(meme) == record.key:
                found.append(meme)
        return found, records[-1].key if len(records) == limit else ""


class ClaimRecords:
    """The port `Claims`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, meme_id: MemeId) -> tuple[Claim, int] | None:
        """The claim, or None."""
        record = await self._store.get(CLAIMS, meme_id)
        return None if record is None else (_claim(record), record.generation)

    async def create(self, claim: Claim) -> int:
        """Writes a new claim."""
        return await self._store.create(CLAIMS, claim.meme_id, _claim_bins(claim))

    async def put(self, claim: Claim, generation: int) -> int:
        """Replaces a claim that still has this generation."""
        return await self._store.put_if(CLAIMS, claim.meme_id, _claim_bins(claim), generation)

    async def near(self, look: Look, sha256: Sha256) -> dict[MemeId, tuple[Claim, int]]:
        """All that share the bytes or a band."""
        found: dict[MemeId, tuple[Claim, int]] = {}
        places = [("sha256", str(sha256))]
        places += [(f"band{number}", band) for number, band in enumerate(look.bands())]
        for bin_name, value in places:
            async for record in query_all(self._store, CLAIMS, bin_name, value):
                found[MemeId(record.key)] = _claim(record), record.generation
        return found

    async def pending(self) -> AsyncIterator[tuple[Claim, int]]:
        """All that are open."""
        for state in (ClaimState.CLAIMED, ClaimState.SETTLED):
            async for record in query_all(self._store, CLAIMS, "state", state):
                yield _claim(record), record.generation


def _meme_bins(meme: Meme) -> Bins:
    return {
        "name": meme.name,
        "creator_id": meme.creator_id,
        "state": meme.state,
        "reason": meme.reason,
        "reason_detail": meme.reason_detail,
        "created_ns": meme.created_ns,
        "published_ns": meme.published_ns,
        "versions": _VERSIONS.dump_json(meme.versions).decode(),
        "task": None if meme.task is None else _TASK.dump_json(meme.task).decode(),
        "unfinished": None if meme.task is None else UNFINISHED,
    }


def _meme(record: Record) -> Meme:
    task = record.text("task", "")
    return Meme(
        id=MemeId(record.key),
        name=record.text("name"),
        creator_id=UserId(record.text("creator_id")),
        state=MemeState(record.text("state")),
        versions=_VERSIONS.validate_json(record.text("versions")),
        created_ns=InstantNs(record.integer("created_ns")),
        task=_TASK.validate_json(task) if task else None,
        reason=record.text("reason"),
        reason_detail=record.text("reason_detail"),
        published_ns=InstantNs(record.integer("published_ns")),
    )


def _shelf_key(meme: Meme) -> str:
    return f"{meme.published_ns:020d}-{meme.id}"


def _claim_bins(claim: Claim) -> Bins:
    return {
        "wave": claim.look.wave,
        "edges": claim.look.edges,
        "sha256": claim.sha256,
        "state": claim.state,
        "token": claim.token,
        "at_ns": claim.at_ns,
        "beaten_by": claim.beaten_by,
        **{f"band{number}": band for number, band in enumerate(claim.look.bands())},
    }


def _claim(record: Record) -> Claim:
    return Claim(
        meme_id=MemeId(record.key),
        look=Look(record.text("wave"), record.text("edges")),
        sha256=Sha256(record.text("sha256")),
        state=ClaimState(record.text("state")),
        token=record.text("token"),
        at_ns=InstantNs(record.integer("at_ns")),
        beaten_by=record.text("beaten_by"),
    )
