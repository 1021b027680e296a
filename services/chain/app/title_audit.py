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
from services.chain.app.origins import Flaw, OriginUnproved, read_output, read_title, trace
from services.chain.app.ports import ChainReader, Ledger
from services.chain.app.records import Records, Table
from services.chain.domain.entities import Title
from services.chain.domain.inscriptions import key_hash_paid
from services.chain.domain.keys import KeyRing, KeyUse
from services.chain.domain.states import JobState
from services.chain.domain.values import MemeId, Outpoint, Txid, UserId

log = logs.logger(__name__)

OWNERS_BATCH = 200
PLACES_BATCH = 10
"""Titles a look: owners are asked of the ledger in one call, places of the source one by one."""
NS_PER_S = 1_000_000_000

_different = telemetry.gauge(
    "chain.titles.different",
    "Titles on which ledger and chain differ for too long, by kind.",
    unit="{title}",
    by=("kind",),
)
_audited = telemetry.gauge("chain.titles.audited", "Titles in the last whole audit.", unit="{title}")


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
    """A title on which the two differ. `since_ns` is when that was first seen in this term of leading.

    `ledger_owner_id` is empty where the ledger has none, or was not asked.
    """

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


class _Rounds:
    """Goes through all titles, some at a time, in the order of their memes, and begins anew at the end."""

    def __init__(self, titles: Table[Title], size: int) -> None:
        self._titles = titles
        self._size = size
        self._after = ""
        self._seen = 0
        # When the last round was over, and how many titles it met.
        self.over_ns, self.met = 0, 0

    async def batch(self) -> list[Title]:
        """The next ones; the same again until `done`."""
        return [kept.value for kept in await self._titles.behind(self._after, self._size)]

    def done(self, batch: list[Title], now_ns: int) -> None:
        """These have been looked at."""
        self._seen += len(batch)
        self._after = batch[-1].meme_id if batch else ""
        if len(batch) < self._size:
            self.over_ns, self.met = now_ns, self._seen
            self._after, self._seen = "", 0


class _Known:
    """Raw transactions: ours from our records, others from the source. All are proved by their ids."""

    def __init__(self, records: Records, source: ChainReader) -> None:
        self._txs = records.txs
        self._source = source

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Those that are known."""
        kept = [found for txid in txids for found in await self._txs.where("txid", txid)]
        ours = {found.value.txid: found.value.raw for found in kept}
        others = [txid for txid in txids if txid not in ours]
        return {**ours, **(await self._source.transactions(others) if others else {})}


class TitleAudit:
    """Compares owners, and looks at places; what differs is remembered until it does no more."""

    def __init__(
        self,
        *,
        records: Records,
        books: Books,
        accounts: Accounts,
        keys: KeyRing,
        source: ChainReader,
        ledger: Ledger,
        clock: Clock,
        grace_s: float,
    ) -> None:
        self._books = books
        self._accounts = accounts
        self._keys = keys
        self._source = source
        self._raw = _Known(records, source)
        self._ledger = ledger
        self._clock = clock
        self._grace_ns = int(grace_s * NS_PER_S)
        self._owners = _Rounds(records.titles, OWNERS_BATCH)
        self._places = _Rounds(records.titles, PLACES_BATCH)
        self._proved: dict[MemeId, Outpoint] = {}
        self._open: dict[tuple[MemeId, Kind], Difference] = {}
        self._reported: set[tuple[MemeId, Kind]] = set()

    def report(self) -> Report:
        """What differs for longer than a move takes."""
        rounds = (self._owners, self._places)
        looked_ns, titles = min((one.over_ns, one.met) for one in rounds)
        return Report(looked_ns, titles, tuple(self._lasting()))

    def _lasting(self) -> Iterator[Difference]:
        now_ns = self._clock.now_ns()
        return (found for found in self._open.values() if now_ns - found.since_ns >= self._grace_ns)

    async def look(self) -> None:
        """The next titles. What does not answer now (ledger, source, store) ends it; it is repeated then."""
        await self._compare_owners()
        await self._look_at_places()
        _audited.set(self.report().titles)
        self._tell()

    async def _compare_owners(self) -> None:
        batch = await self._owners.batch()
        owners = await self._ledger.title_owners([title.meme_id for title in batch]) if batch else {}
        for title in batch:
            owner = owners.get(title.meme_id, UserId(""))
            inscribed = title.state is JobState.SENT
            self._note(title, Kind.NOT_INSCRIBED, "" if inscribed else "no transaction is signed", owner)
            self._note(title, Kind.UNKNOWN, "" if owner else "the ledger has no title of this meme", owner)
            differs = owner and inscribed and owner != title.owner_id
            self._note(
                title, Kind.OWNER, "it is held for somebody else than its owner" if differs else "", owner
            )
        self._owners.done(batch, self._clock.now_ns())

    async def _look_at_places(self) -> None:
        batch = await self._places.batch()
        for title in batch:
            if title.state is JobState.SENT:
                kind, detail = await self._unproved(title) or await self._spent(title) or (None, "")
                for one in (Kind.ORIGIN, Kind.KEY, Kind.SPENT):
                    self._note(title, one, detail if one is kind else "")
        self._places.done(batch, self._clock.now_ns())

    def _note(self, title: Title, kind: Kind, detail: str, ledger_owner: str = "") -> None:
        """A difference if there is a detail; none, and none any more, if not."""
        key = (title.meme_id, kind)
        if not detail:
            self._open.pop(key, None)
            return
        since_ns = self._open[key].since_ns if key in self._open else self._clock.now_ns()
        self._open[key] = Difference(
            title.meme_id, kind, ledger_owner, title.owner_id, title.outpoint, detail, since_ns
        )

    async def _spent(self, title: Title) -> tuple[Kind, str] | None:
        """Whether its output is still there; one that no node has taken yet is not, for a moment."""
        point = Outpoint.parse(title.outpoint)
        tx = await self._books.tx(title.plan)
        if tx is None or await self._source.unspent([point]):
            return None
        return Kind.SPENT, "its output is not there, or somebody spent it"

    async def _unproved(self, title: Title) -> tuple[Kind, str] | None:
        """Its key, its inscription and its way back, once for each place that it comes to."""
        origin, point = Outpoint.parse(title.origin), Outpoint.parse(title.outpoint)
        before = self._proved.get(title.meme_id)
        if before == point:
            return None
        try:
            output = await read_output(self._raw, point)
            path = await self._accounts.path(title.owner_id, KeyUse.TITLE)
            if key_hash_paid(output.script) != self._keys.key(path).key_hash:
                return Kind.KEY, "its output does not pay the key of its owner"
            if before is None:
                await read_title(self._raw, title.meme_id, origin)
            # Back to the last place, or, when a move was undone, to the origin.
            known = {origin, before or origin}
            end = (await trace(self._raw, point, until=known)).origin
            if end not in known:
                return Kind.ORIGIN, f"{Flaw.OTHER_ORIGIN}: {point} comes from {end}, not from {origin}"
        except OriginUnproved as problem:
            return Kind.ORIGIN, f"{problem.flaw}: {problem}"
        self._proved[title.meme_id] = point
        return None

    def _tell(self) -> None:
        lasting = {(found.meme_id, found.kind): found for found in self._lasting()}
        for key in lasting.keys() - self._reported:
            found = lasting[key]
            log.error(
                "ledger and chain differ on a title",
                meme=found.meme_id,
                kind=found.kind,
                ledger_owner=found.ledger_owner_id,
                chain_owner=found.chain_owner_id,
                outpoint=found.outpoint,
                detail=found.detail,
            )
        for meme_id, kind in self._reported - lasting.keys():
            log.info("ledger and chain agree on a title again", meme=meme_id, kind=kind)
        self._reported = set(lasting)
        counts = Counter(found.kind for found in lasting.values())
        for kind in Kind:
            _different.set(counts[kind], {"kind": kind})
