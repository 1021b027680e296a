"""Real, simple stand-ins for ledger, content and chain, with a place to crash at every await."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mesh.clock import ManualClock
from mesh.errors import Code, RemoteFailure
from mesh.ids import uuid7
from services.rounds.app.ports import BlockNews, ContentNews, LedgerNews, MemeNews, RecordNews, RoundRefused
from services.rounds.domain.assignment import Candidate
from services.rounds.domain.earnings import Earning
from services.rounds.domain.values import (
    Block,
    Distribution,
    InstantNs,
    MemeId,
    MemeTally,
    Payout,
    Round,
    RoundId,
    Sats,
    UserId,
)
from tests.rounds.faults import Faults

Said = TypeVar("Said")


class Log(Generic[Said]):
    """A stream with cursors: everything ever said, from the cursor on, then what comes."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self._more = asyncio.Event()

    def say(self, news: Said) -> None:
        self.said.append(news)
        self._more.set()
        self._more = asyncio.Event()

    async def read(self, start: int) -> AsyncGenerator[tuple[str, Said], None]:
        while True:
            while start < len(self.said):
                start += 1
                yield str(start), self.said[start - 1]
            await self._more.wait()


def away(service: str) -> RemoteFailure:
    return RemoteFailure(Code.UNAVAILABLE, "UNAVAILABLE", f"{service} is away")


@dataclass
class LedgerBooks:
    """A round as the stand-in ledger keeps it."""

    body: Round
    carried_in: int
    tally: dict[MemeId, MemeTally]
    state: str = "OPEN"
    distribution: Distribution | None = None


class FakeLedger:
    """Money and metering: refuses what the real one refuses, and counts every satoshi."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.rounds: dict[RoundId, LedgerBooks] = {}
        self.carried = 0
        self.log: Log[tuple[RoundId, tuple[MemeTally, ...], bool]] = Log()
        self.is_away = False
        self.refusal = ""
        self.commands: list[str] = []

    async def _command(self, name: str) -> None:
        await self._faults.point()
        if self.is_away:
            raise away("ledger")
        self.commands.append(name)

    async def open_round(self, round_: Round) -> Sats:
        await self._command("open")
        if self.refusal:
            raise RoundRefused(self.refusal)
        body = (round_.starts_at_ns, round_.locks_at_ns, round_.entries, round_.rules)
        known = self.rounds.get(round_.id)
        if known is None:
            if any(books.state in ("OPEN", "LOCKED") for books in self.rounds.values()):
                raise RemoteFailure(Code.FAILED_PRECONDITION, "ROUND_OVERLAP", "another round is open")
            tally = {entry.meme_id: MemeTally(entry.meme_id) for entry in round_.entries}
            known = self.rounds[round_.id] = LedgerBooks(round_, self.carried, tally)
            self.carried = 0
        old = known.body
        if body != (old.starts_at_ns, old.locks_at_ns, old.entries, old.rules):
            raise RemoteFailure(Code.ALREADY_EXISTS, "ID_REUSED", "opened with another body")
        await self._faults.point()
        return Sats(known.carried_in)

    def watch_seconds(self, round_id: RoundId, meme_id: MemeId, seconds: int, viewer_at_ns: int) -> bool:
        """A viewer pays; False when the round is not open."""
        books = self.rounds.get(round_id)
        if books is None or books.state != "OPEN":
            return False
        old = books.tally[meme_id]
        takings = old.takings_sats + seconds
        fee = takings * 200 // 10_000
        instant = (takings - fee) * 4_500 // 10_000
        creator = instant // 10
        owner = instant - creator
        books.tally[meme_id] = replace(
            old,
            paid_seconds=old.paid_seconds + seconds,
            takings_sats=Sats(takings),
            fee_sats=Sats(fee),
            creator_sats=Sats(creator),
            owner_sats=Sats(owner),
            pool_sats=Sats(takings - fee - creator - owner),
            scored_seconds=old.scored_seconds + seconds,
            viewers=old.viewers + 1,
            first_view_ns=old.first_view_ns or InstantNs(viewer_at_ns),
        )
        self.log.say((round_id, (books.tally[meme_id],), False))
        return True

    async def lock_round(self, round_id: RoundId) -> tuple[MemeTally, ...]:
        await self._command("lock")
        books = self._books(round_id)
        if books.state == "OPEN":
            books.state = "LOCKED"
        await self._faults.point()
        return tuple(books.tally.values())

    async def distribute(self, round_id: RoundId, ranking: tuple[MemeId, ...]) -> Distribution:
        await self._command("distribute")
        books = self._books(round_id)
        if books.state == "VOIDED":
            raise RemoteFailure(Code.FAILED_PRECONDITION, "ROUND_VOIDED", "the round was voided")
        if books.distribution is None:
            if books.state != "LOCKED":
                raise RemoteFailure(Code.FAILED_PRECONDITION, "ROUND_NOT_ACTIVE", "not locked")
            scored = {row.meme_id for row in books.tally.values() if row.scored_seconds}
            if set(ranking) != scored or len(set(ranking)) != len(ranking):
                raise RemoteFailure(Code.INVALID_ARGUMENT, "RANKING_MISMATCH", "not the scored entries")
            books.distribution = self._distribution(books, ranking)
            books.state = "DISTRIBUTED"
            self.carried += books.distribution.carried_out_sats
        await self._faults.point()
        return books.distribution

    def _distribution(self, books: LedgerBooks, ranking: tuple[MemeId, ...]) -> Distribution:
        pool = books.carried_in + sum(row.pool_sats for row in books.tally.values())
        creators = {entry.meme_id: entry.creator_id for entry in books.body.entries}
        paid = ranking if pool >= 100 * max(len(ranking), 1) else ()
        share = pool // len(paid) if paid else 0
        payouts = tuple(
            Payout(rank, meme_id, creators[meme_id], Sats(share)) for rank, meme_id in enumerate(paid, 1)
        )
        left = pool - share * len(paid)
        return Distribution(Sats(books.carried_in), Sats(pool), payouts, Sats(left), "ab" * 32)

    async def void_round(self, round_id: RoundId, reason: str) -> bool:
        await self._command("void")
        books = self._books(round_id)
        if books.state == "DISTRIBUTED":
            return False
        if books.state != "VOIDED":
            books.state = "VOIDED"
            self.carried += books.carried_in
        await self._faults.point()
        return True

    async def tally(self, round_id: RoundId) -> tuple[MemeTally, ...] | None:
        books = self.rounds.get(round_id)
        return tuple(books.tally.values()) if books else None

    async def watch(self, cursor: str) -> AsyncGenerator[LedgerNews, None]:
        if self.is_away:
            raise away("ledger")
        if not cursor:
            for round_id, books in self.rounds.items():
                if books.state in ("OPEN", "LOCKED"):
                    start = str(len(self.log.said))
                    yield LedgerNews(start, round_id, tuple(books.tally.values()), whole=True)
            cursor = str(len(self.log.said))
        async for at, said in self.log.read(int(cursor)):
            round_id, rows, whole = said
            yield LedgerNews(at, round_id, rows, whole=whole)

    def _books(self, round_id: RoundId) -> LedgerBooks:
        if round_id not in self.rounds:
            raise RemoteFailure(Code.NOT_FOUND, "ROUND_NOT_FOUND", "no round has this id")
        return self.rounds[round_id]


class FakeContent:
    """Published memes."""

    def __init__(self, faults: Faults, clock: ManualClock) -> None:
        self._faults = faults
        self._clock = clock
        self.memes: dict[MemeId, MemeNews] = {}
        self.log: Log[MemeNews] = Log()
        self.forgotten_cursor = False

    def publish(self, creator: str = "", quality_ppm: int = 900_000, meme_id: str = "") -> MemeId:
        found = MemeId(meme_id or uuid7())
        candidate = Candidate(
            found, UserId(creator or uuid7()), quality_ppm, InstantNs(self._clock.now_ns() + len(self.memes))
        )
        self._say(MemeNews(found, candidate, gone=False))
        return found

    def take_down(self, meme_id: MemeId) -> None:
        self._say(MemeNews(meme_id, None, gone=True))

    def _say(self, news: MemeNews) -> None:
        self.memes[news.meme_id] = news
        self.log.say(news)

    async def published(self, page_token: str) -> tuple[list[Candidate], str]:
        await self._faults.point()
        found = [news.candidate for news in self.memes.values() if news.candidate]
        start = int(page_token or 0)
        more = str(start + 2) if start + 2 < len(found) else ""
        return found[start : start + 2], more

    async def read(self, meme_ids: Sequence[MemeId]) -> list[MemeNews]:
        await self._faults.point()
        return [self.memes[meme_id] for meme_id in meme_ids if meme_id in self.memes]

    async def watch(self, cursor: str) -> AsyncGenerator[ContentNews, None]:
        if not cursor or self.forgotten_cursor:
            cursor = str(len(self.log.said))
            yield ContentNews(cursor, None)
        async for at, said in self.log.read(int(cursor)):
            yield ContentNews(at, said)


class FakeChain:
    """Blocks, and a notary that keeps what it was given."""

    def __init__(self, faults: Faults, clock: ManualClock) -> None:
        self._faults = faults
        self._clock = clock
        self.blocks: list[Block] = [Block(100, "genesis", InstantNs(clock.now_ns()))]
        self.log: Log[tuple[tuple[Block, ...], tuple[Block, ...]]] = Log()
        self.record_log: Log[tuple[RoundId, str]] = Log()
        self.records: dict[RoundId, str] = {}
        self.payouts: dict[str, Earning] = {}
        self.is_away = False
        self.txids_known = True
        self.forgotten_cursor = False

    def block(self, name: str = "") -> Block:
        found = self._new(self.blocks[-1].height + 1, name)
        self.blocks.append(found)
        self.log.say(((), (found,)))
        return found

    def reorganise(self, depth: int, length: int) -> tuple[Block, ...]:
        """Replaces the newest `depth` blocks by `length` others."""
        orphaned = tuple(reversed(self.blocks[-depth:]))
        del self.blocks[-depth:]
        connected = tuple(self._new(self.blocks[-1].height + 1 + n, "") for n in range(length))
        self.blocks += connected
        self.log.say((orphaned, connected))
        return connected

    def _new(self, height: int, name: str) -> Block:
        return Block(height, name or f"{height}-{uuid7()}", InstantNs(self._clock.now_ns()))

    async def record_result(self, round_id: RoundId, record_json: str) -> str:
        await self._faults.point()
        if self.is_away:
            raise away("chain")
        if self.records.setdefault(round_id, record_json) != record_json:
            raise RemoteFailure(Code.ALREADY_EXISTS, "ID_REUSED", "another record")
        await self._faults.point()
        return f"tx-{round_id}" if self.txids_known else ""

    def mine_record(self, round_id: RoundId) -> None:
        self.txids_known = True
        self.record_log.say((round_id, f"tx-{round_id}"))

    async def queue_payouts(self, earned: Sequence[Earning]) -> None:
        await self._faults.point()
        if self.is_away:
            raise away("chain")
        for found in earned:
            if self.payouts.setdefault(found.withdrawal_id, found) != found:
                raise RemoteFailure(Code.ALREADY_EXISTS, "ID_REUSED", "another payout")
        await self._faults.point()

    async def txids(self, round_ids: Sequence[RoundId]) -> dict[RoundId, str]:
        await self._faults.point()
        return {found: f"tx-{found}" for found in round_ids if self.txids_known and found in self.records}

    async def block_at(self, height: int) -> Block | None:
        await self._faults.point()
        return next((block for block in self.blocks if block.height == height), None)

    async def watch_blocks(self, cursor: str) -> AsyncGenerator[BlockNews, None]:
        if self.is_away:
            raise away("chain")
        if not cursor or self.forgotten_cursor:
            cursor = str(len(self.log.said))
            yield BlockNews(cursor, (), (self.blocks[-1],), snapshot=True)
        async for at, said in self.log.read(int(cursor)):
            orphaned, connected = said
            yield BlockNews(at, orphaned, connected)

    async def watch_records(self, cursor: str) -> AsyncGenerator[RecordNews, None]:
        if not cursor:
            cursor = str(len(self.record_log.said))
            yield RecordNews(cursor, None)
        async for at, said in self.record_log.read(int(cursor)):
            yield RecordNews(at, said)
