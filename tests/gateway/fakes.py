"""Simple services behind a real server of the mesh: they keep what tests give them, and remember calls."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2, chain_service_pb2_grpc
from satreel.content.v1 import content_pb2, content_service_pb2, content_service_pb2_grpc
from satreel.identity.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc
from satreel.insight.v1 import insight_pb2, insight_service_pb2, insight_service_pb2_grpc
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from satreel.market.v1 import market_pb2, market_service_pb2, market_service_pb2_grpc
from satreel.mesh.v1 import access_pb2
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2, rounds_service_pb2_grpc

from mesh import caller
from mesh.caller import ADMIN, Caller
from mesh.errors import Code, Failure, NotFound, Unavailable
from mesh.feeds.feed import HEARTBEAT_S
from mesh.ids import uuid7
from mesh.tokens import UserTokenSigner

FILM = bytes(range(256)) * 4096
POSTER = b"\xff\xd8\xff poster"
PIECE_BYTES = 100_000
AT = Timestamp(seconds=1_770_000_000)

NOBODY = "0190ffff-0000-7000-8000-00000000ffff"


class SessionInvalid(Failure):
    """The session does not exist, has expired or was revoked."""

    code = Code.UNAUTHENTICATED
    reason = "SESSION_INVALID"


class RangeInvalid(Failure):
    """The range lies outside the file."""

    code = Code.OUT_OF_RANGE
    reason = "RANGE_INVALID"


class FileForbidden(Failure):
    """The signed-in user may not see this file."""

    code = Code.PERMISSION_DENIED
    reason = "FILE_FORBIDDEN"


class NotYours(Failure):
    """It belongs to another user."""

    code = Code.PERMISSION_DENIED
    reason = "NOT_YOURS"


class InsufficientFunds(Failure):
    """The balance does not cover this."""

    code = Code.FAILED_PRECONDITION
    reason = "INSUFFICIENT_FUNDS"


class IdReused(Failure):
    """The session was opened with another body."""

    code = Code.ALREADY_EXISTS
    reason = "ID_REUSED"


def missing(reason: str) -> NotFound:
    """NOT_FOUND with a reason of the service's own."""
    failure = NotFound("There is none.")
    failure.reason = reason
    return failure


@dataclass
class Call:
    """One call that reached a service."""

    name: str
    request: Any
    caller: Caller


@dataclass
class Log:
    """What reached the services, and which calls shall fail."""

    calls: list[Call] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)
    holding: dict[str, asyncio.Event] = field(default_factory=dict)

    async def take(self, request: Message) -> None:
        """Remembers a call; raises what it shall fail with; waits if it is held."""
        name = type(request).__name__.removesuffix("Request")
        self.calls.append(Call(name, request, caller.current()))
        if name in self.holding:
            await self.holding[name].wait()
        if name in self.failing:
            raise self.failing[name]

    def of(self, name: str) -> list[Call]:
        """The calls of one method, the oldest first."""
        return [call for call in self.calls if call.name == name]


class Feed:
    """A Watch stream that tests write; a stream without a cursor begins with the snapshot."""

    def __init__(self, snapshot: Callable[[], Message]) -> None:
        self._snapshot = snapshot
        self._readers: set[asyncio.Queue[Any]] = set()
        self.cursors: list[str] = []
        # What a stream from such a cursor begins with.
        self.behind: dict[str, list[Any]] = {}
        self.lost = False

    def publish(self, response: Any) -> None:
        """To all who watch."""
        for reader in self._readers:
            reader.put_nowait(response)

    def break_streams(self) -> None:
        """As a service that goes down does."""
        self.publish(Unavailable("going down"))

    @property
    def watchers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    async def watch(self, cursor: str) -> AsyncIterator[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._readers.add(queue)
        self.cursors.append(cursor)
        try:
            if not cursor or self.lost:
                yield self._snapshot()
            for news in self.behind.get(cursor, ()):
                yield news
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        news = await queue.get()
                except TimeoutError:
                    news = type(self._snapshot())(heartbeat=access_pb2.Heartbeat())
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            self._readers.discard(queue)


def paged(items: Sequence[Any], size: int, token: str) -> tuple[list[Any], str]:
    """Items behind the one that the token names, and the next token."""
    keys = [str(getattr(item, item.DESCRIPTOR.fields_by_number[1].name)) for item in items]
    start = keys.index(token) + 1 if token else 0
    page = list(items[start : start + (size or 50)])
    more = start + len(page) < len(items)
    return page, keys[start + len(page) - 1] if more else ""


def found(stored: dict[str, Any], ids: Iterable[str]) -> list[Any]:
    """Those that exist, in the order asked."""
    return [stored[wanted] for wanted in ids if wanted in stored]


def session_of(user: identity_pb2.User) -> str:
    """The id of a user's session."""
    return f"session-{user.id}"


class FakeIdentity(identity_service_pb2_grpc.IdentityServiceServicer):
    def __init__(self, log: Log, signer: UserTokenSigner) -> None:
        self.log, self.signer = log, signer
        self.users: dict[str, identity_pb2.User] = {}
        self.sessions: dict[str, str] = {}

    async def Authenticate(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.access_token not in self.sessions:
            raise SessionInvalid
        user = self.users[self.sessions[request.access_token]]
        roles = frozenset({ADMIN} if identity_pb2.ROLE_ADMIN in user.roles else ())
        token, _ = self.signer.sign(user_id=user.id, roles=roles, session_id=session_of(user))
        return identity_service_pb2.AuthenticateResponse(
            user=user, session_id=session_of(user), user_token=token
        )

    async def BatchGetUsers(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return identity_service_pb2.BatchGetUsersResponse(users=found(self.users, request.user_ids))

    async def CreateChallenge(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        challenge = identity_pb2.Challenge(id=uuid7(), message=f"{request.address} signs", expires_at=AT)
        return identity_service_pb2.CreateChallengeResponse(challenge=challenge)

    async def SetDisplayName(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        user = self.users[caller.current().require_user()]
        user.display_name = request.display_name
        return identity_service_pb2.SetDisplayNameResponse(user=user)


class FakeContent(content_service_pb2_grpc.ContentServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.memes: dict[str, content_pb2.Meme] = {}
        self.uploads: list[tuple[content_service_pb2.UploadHeader, bytes]] = []
        self.feed = Feed(
            lambda: content_service_pb2.WatchContentResponse(
                cursor="c0", snapshot=content_service_pb2.ContentSnapshot()
            )
        )

    async def BatchGetMemes(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return content_service_pb2.BatchGetMemesResponse(memes=found(self.memes, request.meme_ids))

    async def ListVersions(self, request: Any, context: Any) -> Any:
        """Tells each caller something else: what must not reach another."""
        await self.log.take(request)
        stage = content_pb2.Stage(state=content_pb2.MEME_STATE_TITLING, detail=caller.current().user_id or "")
        return content_service_pb2.ListVersionsResponse(
            versions=[content_pb2.MemeVersion(version=1, stages=[stage])]
        )

    async def ListMemes(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        memes = [*reversed(self.memes.values())]
        page, token = paged(memes, request.page_size, request.page_token)
        return content_service_pb2.ListMemesResponse(memes=page, next_page_token=token)

    async def UploadMeme(self, request_iterator: Any, context: Any) -> Any:
        header, picture = content_service_pb2.UploadHeader(), b""
        async for piece in request_iterator:
            if piece.WhichOneof("part") == "header":
                header = piece.header
                await self.log.take(piece)
            picture += piece.chunk
        self.uploads.append((header, picture))
        meme = content_pb2.Meme(id=header.meme_id, name=header.name, state=content_pb2.MEME_STATE_UPLOADED)
        self.memes[meme.id] = meme
        return content_service_pb2.UploadMemeResponse(meme=meme)

    async def ReadMedia(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.log.take(request)
        who, meme = caller.current(), self.memes.get(request.meme_id)
        if meme is None:
            raise missing("MEME_NOT_FOUND")
        poster = request.kind == content_pb2.MEDIA_KIND_POSTER
        if not (poster or request.vouched or who.is_admin or who.user_id == meme.creator_id):
            raise FileForbidden
        data = POSTER if poster else FILM
        if request.offset >= len(data):
            raise RangeInvalid(size=len(data))
        mime = "image/jpeg" if poster else "video/mp4"
        info = content_service_pb2.MediaInfo(mime=mime, size_bytes=len(data), sha256="ab" * 32)
        yield content_service_pb2.ReadMediaResponse(info=info)
        part = data[request.offset : request.offset + request.length if request.length else None]
        for start in range(0, len(part), PIECE_BYTES):
            yield content_service_pb2.ReadMediaResponse(chunk=part[start : start + PIECE_BYTES])

    async def WatchContent(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news


class FakeRounds(rounds_service_pb2_grpc.RoundsServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.rounds: dict[str, rounds_pb2.Round] = {}
        self.boards: dict[str, rounds_pb2.Leaderboard] = {}
        self.current = ""
        self.feed = Feed(self._snapshot)

    def _snapshot(self) -> Message:
        snapshot = rounds_service_pb2.RoundsSnapshot(
            round=self.rounds.get(self.current), leaderboard=self.boards.get(self.current)
        )
        return rounds_service_pb2.WatchRoundsResponse(cursor="r0", snapshot=snapshot)

    async def GetCurrentRound(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if not self.current:
            raise missing("NO_CURRENT_ROUND")
        return rounds_service_pb2.GetCurrentRoundResponse(round=self.rounds[self.current])

    async def BatchGetRounds(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return rounds_service_pb2.BatchGetRoundsResponse(rounds=found(self.rounds, request.round_ids))

    async def GetLeaderboard(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return rounds_service_pb2.GetLeaderboardResponse(leaderboard=self.boards[request.round_id])

    async def WatchRounds(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news


class FakeLedger(ledger_service_pb2_grpc.LedgerServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.balances: dict[str, int] = {}
        self.titles: dict[str, ledger_pb2.Title] = {}
        self.postings: list[ledger_pb2.Posting] = []
        self.records: dict[str, ledger_pb2.RoundRecord] = {}
        # By round and user; "" stands for everybody.
        self.explanations: dict[tuple[str, str], ledger_pb2.PayoutExplanation] = {}
        self.sessions: dict[str, ledger_pb2.Session] = {}
        self.reports: list[ledger_service_pb2.MeterRequest] = []
        self.receipt_reasons: dict[str, ledger_pb2.ErrorReason.ValueType] = {}
        self.meter_broken = asyncio.Event()
        self.meter_streams = 0
        self.mute = asyncio.Event()
        self.mute.set()
        self.feed = Feed(
            lambda: ledger_service_pb2.WatchLedgerResponse(
                cursor="l0", snapshot=ledger_service_pb2.LedgerSnapshot()
            )
        )

    async def GetAccount(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        account_id = request.account_id
        if account_id not in self.balances:
            raise missing("ACCOUNT_NOT_FOUND")
        return ledger_service_pb2.GetAccountResponse(account=self.account(account_id))

    def account(self, account_id: str) -> ledger_pb2.Account:
        balance = self.balances[account_id]
        return ledger_pb2.Account(id=account_id, asset="sat", balance=balance, available=balance)

    async def ListPostings(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        page, token = paged(self.postings, request.page_size, request.page_token)
        return ledger_service_pb2.ListPostingsResponse(postings=page, next_page_token=token)

    async def GetRoundRecord(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.round_id not in self.records:
            raise missing("ROUND_NOT_FOUND")
        return ledger_service_pb2.GetRoundRecordResponse(record=self.records[request.round_id])

    async def ExplainPayout(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        key = (request.round_id, request.user_id)
        if key not in self.explanations:
            raise missing("ROUND_NOT_FOUND")
        return ledger_service_pb2.ExplainPayoutResponse(explanation=self.explanations[key])

    async def BatchGetTitles(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return ledger_service_pb2.BatchGetTitlesResponse(titles=found(self.titles, request.meme_ids))

    async def GetTitle(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.meme_id not in self.titles:
            raise missing("TITLE_NOT_FOUND")
        return ledger_service_pb2.GetTitleResponse(title=self.titles[request.meme_id])

    async def OpenSession(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        session = self.sessions.setdefault(
            request.session_id,
            ledger_pb2.Session(
                id=request.session_id,
                viewer_id=caller.current().require_user(),
                meme_id=request.meme_id,
                budget_sats=request.budget_sats,
                meter_key=len(self.sessions) + 1,
            ),
        )
        if session.viewer_id != caller.current().require_user():
            raise IdReused
        return ledger_service_pb2.OpenSessionResponse(session=session)

    async def GetSession(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        session, who = self.sessions.get(request.session_id), caller.current().user_id
        if session is None or who not in {None, session.viewer_id}:
            raise missing("SESSION_NOT_FOUND")
        return ledger_service_pb2.GetSessionResponse(session=session)

    async def CloseSession(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        session = self.sessions[request.session_id]
        session.stop_reason = session.stop_reason or ledger_pb2.STOP_REASON_CLOSED
        return ledger_service_pb2.CloseSessionResponse(session=session)

    async def Meter(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        self.meter_streams += 1
        async for report in request_iterator:
            if self.meter_broken.is_set():
                self.meter_broken.clear()
                raise Unavailable("going down")
            await self.mute.wait()
            self.reports.append(report)
            by_key = {session.meter_key: session for session in self.sessions.values()}
            receipts = [
                self._receipt(by_key[key], seconds)
                for key, seconds in zip(report.meter_keys, report.seconds, strict=True)
            ]
            yield ledger_service_pb2.MeterResponse(
                sequence=report.sequence,
                burned_sats=[receipt.burned_sats for receipt in receipts],
                receipts=[receipt for receipt in receipts if receipt.reason or receipt.stop_reason],
            )

    def _receipt(self, session: ledger_pb2.Session, seconds: int) -> ledger_service_pb2.MeterReceipt:
        session.seconds = max(session.seconds, seconds)
        session.burned_sats = min(session.seconds, session.budget_sats) if session.seconds >= 3 else 0
        if session.seconds >= session.budget_sats:
            session.stop_reason = ledger_pb2.STOP_REASON_BUDGET_SPENT
        return ledger_service_pb2.MeterReceipt(
            meter_key=session.meter_key,
            session_id=session.id,
            seconds=session.seconds,
            burned_sats=session.burned_sats,
            stop_reason=session.stop_reason,
            reason=self.receipt_reasons.get(session.id, ledger_pb2.ERROR_REASON_UNSPECIFIED),
        )

    async def GetTotals(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return ledger_service_pb2.GetTotalsResponse(coins_owed_sats=70, users_sats=70)

    async def WatchLedger(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news


class FakeMarket(market_service_pb2_grpc.MarketServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.listings: dict[str, market_pb2.Listing] = {}
        self.offers: dict[str, market_pb2.Offer] = {}
        self.sales: dict[str, market_pb2.Sale] = {}
        self.feed = Feed(
            lambda: market_service_pb2.WatchMarketResponse(
                cursor="m0", snapshot=market_service_pb2.MarketSnapshot()
            )
        )

    async def BatchGetListings(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        listings = found(self.listings, request.listing_ids)
        return market_service_pb2.BatchGetListingsResponse(listings=listings)

    async def BatchGetQuotes(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        by_meme: dict[str, market_service_pb2.Quote] = defaultdict(market_service_pb2.Quote)
        for listing in self.listings.values():
            by_meme[listing.meme_id].open_listing.CopyFrom(listing)
        for meme_id in request.meme_ids:
            by_meme[meme_id].meme_id = meme_id
        quotes = [by_meme[meme_id] for meme_id in request.meme_ids]
        return market_service_pb2.BatchGetQuotesResponse(quotes=quotes)

    async def CreateListing(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        listing = market_pb2.Listing(
            id=request.listing_id,
            meme_id=request.meme_id,
            seller_id=caller.current().require_user(),
            price_sats=request.price_sats,
            expires_at=request.expires_at if request.HasField("expires_at") else None,
            state=market_pb2.LISTING_STATE_OPEN,
            version=1,
        )
        self.listings[listing.id] = listing
        return market_service_pb2.CreateListingResponse(listing=listing)

    async def UpdateListing(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.UpdateListingResponse(listing=self.listings[request.listing_id])

    async def MakeOffer(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        offer = market_pb2.Offer(
            id=request.offer_id,
            meme_id=request.meme_id,
            buyer_id=caller.current().require_user(),
            price_sats=request.price_sats,
            expires_at=request.expires_at,
            state=market_pb2.OFFER_STATE_OPEN,
        )
        self.offers[offer.id] = offer
        return market_service_pb2.MakeOfferResponse(offer=offer)

    async def CancelOffer(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.CancelOfferResponse(offer=self.offers[request.offer_id])

    async def AcceptOffer(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        offer = self.offers[request.offer_id]
        sale = market_pb2.Sale(id=request.sale_id, offer_id=offer.id, price_sats=offer.price_sats, number=1)
        return market_service_pb2.AcceptOfferResponse(sale=sale)

    async def BatchGetOffers(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.BatchGetOffersResponse(offers=found(self.offers, request.offer_ids))

    async def ListOffers(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return market_service_pb2.ListOffersResponse(offers=list(self.offers.values()))

    async def GetSeries(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        candle = market_pb2.Candle(starts_at=request.start, open_sats=5, high_sats=9, sales=2)
        return market_service_pb2.GetSeriesResponse(candles=[candle])

    async def GetOverview(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        overview = market_service_pb2.Overview(at=AT, open_listings=3, floor_price_sats=1_500)
        return market_service_pb2.GetOverviewResponse(overview=overview)

    async def GetSale(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.sale_id not in self.sales:
            raise missing("SALE_NOT_FOUND")
        return market_service_pb2.GetSaleResponse(sale=self.sales[request.sale_id])

    async def Purchase(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        raise InsufficientFunds(available=3, needed=request.expected_price_sats)

    async def WatchMarket(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news


class FakeChain(chain_service_pb2_grpc.ChainServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log
        self.tip = chain_pb2.Block(hash="00" * 32, height=100, mined_at=AT, seen_at=AT)
        self.rival: chain_pb2.Block | None = None
        self.freezes: list[chain_service_pb2.WalletFreeze] = []
        self.feed = Feed(lambda: chain_service_pb2.WatchBlocksResponse(cursor="b0", snapshot=self.tip))
        self.withdrawals: dict[str, chain_pb2.Withdrawal] = {}

    async def GetWithdrawal(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        if request.withdrawal_id not in self.withdrawals:
            raise missing("WITHDRAWAL_NOT_FOUND")
        withdrawal = self.withdrawals[request.withdrawal_id]
        if withdrawal.user_id != caller.current().require_user():
            raise NotYours
        return chain_service_pb2.GetWithdrawalResponse(withdrawal=withdrawal)

    async def GetTip(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return chain_service_pb2.GetTipResponse(
            block=self.tip, confirmed_at=AT, stale=self.rival is not None, rival=self.rival
        )

    async def GetCustody(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return chain_service_pb2.GetCustodyResponse(
            coins_sats=70,
            owed_sats=70,
            hot_level=chain_service_pb2.HOT_LEVEL_WITHIN,
            freezes=self.freezes,
        )

    async def LiftFreeze(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        self.freezes = [one for one in self.freezes if one.txid != request.txid]
        return chain_service_pb2.LiftFreezeResponse(freezes=self.freezes)

    async def GetTitleAudit(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        difference = chain_pb2.TitleDifference(
            meme_id=NOBODY,
            kind=chain_pb2.TITLE_DIFFERENCE_KIND_OWNER,
            ledger_owner_id=NOBODY,
            chain_owner_id=NOBODY,
            detail="held for another",
        )
        return chain_service_pb2.GetTitleAuditResponse(titles=3, different=1, differences=[difference])

    async def GetDepositAddress(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        address = f"address-of-{caller.current().require_user()}"
        return chain_service_pb2.GetDepositAddressResponse(address=address, confirmations_needed=1)

    async def BatchGetInscriptions(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        return chain_service_pb2.BatchGetInscriptionsResponse()

    async def WatchBlocks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for news in self.feed.watch(request.cursor):
            yield news


class FakeInsight(insight_service_pb2_grpc.InsightServiceServicer):
    def __init__(self, log: Log) -> None:
        self.log = log

    async def ListMetrics(self, request: Any, context: Any) -> Any:
        await self.log.take(request)
        metric = insight_pb2.Metric(
            name="sats_burned", description="d", unit="sat", aggregation=insight_pb2.AGGREGATION_SUM
        )
        return insight_service_pb2.ListMetricsResponse(metrics=[metric])
