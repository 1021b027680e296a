"""Compares, for every title, its owner in the ledger with its holder on chain, without end.

A sale moves a title in the ledger first and on chain shortly after: only what differs for longer than that is
reported. Nothing is put right here; what differs is for a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.app.accounts import Accounts
from services.chain.app.books import Books
from services.chain.app.origins import OriginUnproved, RawTransactions, prove_title, read_output, trace
from services.chain.app.ports import Ledger
from services.chain.app.records import Records
from services.chain.domain.entities import Title
from services.chain.domain.inscriptions import key_hash_paid
from services.chain.domain.keys import KeyRing, KeyUse
from services.chain.domain.states import CoinState, JobState
from services.chain.domain.values import MemeId, Outpoint, UserId

log = logs.logger(__name__)

BATCH = 200
NS_PER_S = 1_000_000_000
HELD = frozenset({CoinState.FREE, CoinState.RESERVED, CoinState.PENDING})

_different = telemetry.meter.create_gauge(
    "chain.titles.different", description="Titles on which ledger and chain differ for too long, by kind."
)
_audited = telemetry.meter.create_gauge("chain.titles.audited", description="Titles in the last whole audit.")


class Kind(StrEnum):
    """In what ledger and chain differ."""

    NOT_INSCRIBED = "not_inscribed"
    UNKNOWN = "unknown"
    OWNER = "owner"
    KEY = "key"
    SPENT = "spent"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True)
class Difference:
    """A title on which the two differ. `since_ns` is when that was first seen in this term of leading."""

    meme_id: MemeId
    kind: Kind
    ledger_owner_id: str
    chain_owner_id: str
    outpoint: str
    detail: str
    since_ns: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the last whole round of looking found. `looked_ns` is 0 before the first one is over."""

    looked_ns: int
    titles: int
    differences: tuple[Difference, ...]


class TitleAudit:
    """Looks at a batch of titles at a time, in the order of their memes, and begins anew at the end."""

    def __init__(
        self,
        *,
        records: Records,
        books: Books,
        accounts: Accounts,
        keys: KeyRing,
        source: RawTransactions,
        ledger: Ledger,
        clock: Clock,
        grace_s: float,
    ) -> None:
        self._titles = records.titles
        self._books = books
        self._accounts = accounts
        self._keys = keys
        self._source = source
        self._ledger = ledger
        self._clock = clock
        self._grace_ns = int(grace_s * NS_PER_S)
        self._after = ""
        self._seen = 0
        self._proved: dict[MemeId, Outpoint] = {}
        self._open: dict[MemeId, Difference] = {}
        self._reported: set[MemeId] = set()
        self._finished = (0, 0)

    def report(self) -> Report:
        """What differs for longer than a move takes."""
        looked_ns, titles = self._finished
        return Report(looked_ns, titles, tuple(self._lasting()))

    def _lasting(self) -> Iterator[Difference]:
        now_ns = self._clock.now_ns()
        return (found for found in self._open.values() if now_ns - found.since_ns >= self._grace_ns)

    async def look(self) -> None:
        """The next batch. Raises RemoteFailure, NodeUnavailable, the store's failures: it is looked at again."""
        batch = [kept.value for kept in await self._titles.behind(self._after, BATCH)]
        if batch:
            await self._compare(batch)
            self._after = batch[-1].meme_id
            self._seen += len(batch)
        if len(batch) < BATCH:
            self._finished = (self._clock.now_ns(), self._seen)
            self._after, self._seen = "", 0
            _audited.set(self._finished[1])
        self._tell()

    async def _compare(self, batch: Sequence[Title]) -> None:
        owners = await self._ledger.title_owners([title.meme_id for title in batch])
        for title in batch:
            found = await self._difference(title, owners)
            known = self._open.get(title.meme_id)
            if found is None:
                self._open.pop(title.meme_id, None)
            elif known is None or known.kind is not found.kind:
                self._open[title.meme_id] = found

    async def _difference(self, title: Title, owners: Mapping[MemeId, UserId]) -> Difference | None:
        """The first that there is: what comes behind it may follow from it."""
        owner = owners.get(title.meme_id, UserId(""))
        found: tuple[Kind, str] | None
        if title.state is not JobState.SENT:
            found = Kind.NOT_INSCRIBED, "its inscription is not signed yet"
        elif not owner:
            found = Kind.UNKNOWN, "the ledger has no title of this meme"
        elif owner != title.owner_id:
            found = Kind.OWNER, "the owner in the ledger is not the one it is held for"
        else:
            found = self._spent(title) or await self._unproved(title)
        if found is None:
            return None
        kind, detail = found
        now_ns = self._clock.now_ns()
        return Difference(title.meme_id, kind, owner, title.owner_id, title.outpoint, detail, now_ns)

    def _spent(self, title: Title) -> tuple[Kind, str] | None:
        """What the blocks read so far say of its coin."""
        kept = self._books.coins.get(Outpoint.parse(title.outpoint))
        if kept is None or kept.value.state not in HELD:
            return Kind.SPENT, "its coin is not there any more, or was never seen"
        return None

    async def _unproved(self, title: Title) -> tuple[Kind, str] | None:
        """Its key and its way back, by the source's transactions; once for each place that it comes to."""
        origin, point = Outpoint.parse(title.origin), Outpoint.parse(title.outpoint)
        before = self._proved.get(title.meme_id)
        if before == point:
            return None
        try:
            output = await read_output(self._source, point)
            path = await self._accounts.path(title.owner_id, KeyUse.TITLE)
            if key_hash_paid(output.script) != self._keys.key(path).key_hash:
                return Kind.KEY, "the output does not pay the key of its owner"
            if before is None or (await trace(self._source, point, until=before)).path[-1] != before:
                await prove_title(self._source, title.meme_id, origin, point)
        except OriginUnproved as problem:
            # A source that does not know it yet says nothing against it; that lasts no longer than the grace.
            return Kind.ORIGIN, f"{problem.flaw}: {problem}"
        self._proved[title.meme_id] = point
        return None

    def _tell(self) -> None:
        lasting = {found.meme_id: found for found in self._lasting()}
        for meme_id in lasting.keys() - self._reported:
            found = lasting[meme_id]
            log.error(
                "ledger and chain differ on a title",
                meme=meme_id,
                kind=found.kind,
                ledger_owner=found.ledger_owner_id,
                chain_owner=found.chain_owner_id,
                outpoint=found.outpoint,
                detail=found.detail,
            )
        for meme_id in self._reported - lasting.keys():
            log.info("ledger and chain agree on a title again", meme=meme_id)
        self._reported = set(lasting)
        counts = Counter(found.kind for found in lasting.values())
        for kind in Kind:
            _different.set(counts[kind], {"kind": kind})
