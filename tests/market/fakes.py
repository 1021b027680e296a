"""The world around the market, in memory: the ledger's own state machine, a chain, and faults."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar, cast

from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from mesh.errors import DeadlineExceeded, Failure, NotFound, RemoteFailure, Unavailable
from mesh.ids import uuid7
from mesh.records import Bins, InDoubt, Record, Store
from services.ledger.domain import audit
from services.ledger.domain import commands as c
from services.ledger.domain.machine import Machine
from services.ledger.domain.views import AccountView, view_account
from services.market.domain.deals import SAT
from services.market.domain.listings import Listing
from services.market.domain.offers import Offer
from services.market.domain.sales import Sale

Result = TypeVar("Result")


class Crash(BaseException):
    """The process dies here."""


class Fault(Enum):
    """What happens at the step where it happens."""

    DIE_BEFORE = auto()
    DIE_AFTER = auto()
    FAIL_BEFORE = auto()
    FAIL_AFTER = auto()


class Steps:
    """Counts everything the market asks of the world, and lets one of these steps go wrong."""

    def __init__(self) -> None:
        self.taken = 0
        self._at = 0
        self._fault = Fault.DIE_BEFORE

    @property
    def hit(self) -> bool:
        return 0 < self._at <= self.taken

    def go_wrong(self, fault: Fault, at: int) -> None:
        self.taken, self._at, self._fault = 0, at, fault

    def go_right(self) -> None:
        self.taken = self._at = 0

    async def pause(self) -> None:
        """Others may run first: a simulation says how long."""

    async def step(self, work: Callable[[], Awaitable[Result]], failure: type[Failure]) -> Result:
        await self.pause()
        self.taken += 1
        fault = self._fault if self.taken == self._at else None
        if fault is Fault.DIE_BEFORE:
            raise Crash
        if fault is Fault.FAIL_BEFORE:
            raise failure
        result = await work()
        if fault is Fault.DIE_AFTER:
            raise Crash
        if fault is Fault.FAIL_AFTER:
            raise failure
        return result


class FaultyStore:
    """A store whose every call is a step; what fails is in doubt, done or not."""

    def __init__(self, store: Store, steps: Steps) -> None:
        self._store = store
        self._steps = steps

    async def get(self, set_name: str, key: str) -> Record | None:
        return await self._steps.step(lambda: self._store.get(set_name, key), Unavailable)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        return await self._steps.step(lambda: self._store.get_many(set_name, keys), Unavailable)

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        return await self._steps.step(lambda: self._store.create(set_name, key, bins), InDoubt)

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        return await self._steps.step(lambda: self._store.put_if(set_name, key, bins, generation), InDoubt)

    async def query_eq(self, *arguments: Any, **options: Any) -> list[Record]:
        return await self._steps.step(lambda: self._store.query_eq(*arguments, **options), Unavailable)

    async def scan(self, *arguments: Any, **options: Any) -> list[Record]:
        return await self._steps.step(lambda: self._store.scan(*arguments, **options), Unavailable)

    async def delete(self, set_name: str, key: str) -> None:
        await self._steps.step(lambda: self._store.delete(set_name, key), InDoubt)


class AccountNotFound(NotFound):
    """The account has never been used."""

    reason = "ACCOUNT_NOT_FOUND"


class BookLedger:
    """The ledger's own state machine, asked in its contract's messages: real holds, chains and answers.

    `delays`: what is asked is on its way until `arrive`.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.machine = Machine()
        self.machine.advance(now(), c.Reign(session_silence_s=10))
        self.deposits: dict[str, str] = {}
        self.late: list[Any] = []
        self.delays = False

    def do(self, command: c.Command) -> Any:
        self.machine.advance(self._now())
        return self.machine.apply(command)

    def fund(self, user_id: str, amount_sats: int) -> None:
        txid = hashlib.sha256(uuid7().encode()).hexdigest()
        self.deposits[user_id] = deposit_id = uuid7(self._now())
        deposit = c.Deposit(deposit_id, f"user:{user_id}", amount_sats, txid, 0, "b" * 64)
        self.do(c.CreditDeposits((deposit,)))

    def issue(self, meme_id: str, owner_id: str) -> None:
        self.do(c.IssueTitle(meme_id, owner_id))

    def move(self, payer: str, payee: str, asset: str = SAT, amount: int = 1) -> None:
        """Something is moved by other hands than this market's."""
        transfer = c.Transfer(uuid7(self._now()), f"user:{payer}", f"user:{payee}", amount, asset=asset)
        [result] = self.do(c.CreateTransfers("market", (transfer,)))
        assert not result.reason, result

    def account(self, name: str, asset: str = SAT) -> AccountView:
        self.machine.advance(self._now())
        books = self.machine.books
        number = books.find(name if ":" in name else f"user:{name}", asset)
        return AccountView(name, asset, 0, 0, 0) if number is None else view_account(books, number)

    def sats(self, account: str) -> int:
        return self.account(account).balance

    def held(self, account: str) -> int:
        return self.account(account).held

    def owner_of(self, meme_id: str) -> str:
        return self.machine.titles.get(meme_id).owner_id

    def sold(self) -> Counter[str]:
        """Postings of sales by their memos."""
        memos = (posting.memo for posting in self.machine.books.postings)
        return Counter(memo.removeprefix("sale:") for memo in memos if memo.startswith("sale:"))

    def digest(self) -> str:
        """Of everything but refusals."""
        return audit.digest(self.machine)

    def check(self) -> None:
        assert audit.problems(self.machine) == []

    def arrive(self) -> None:
        """What was on its way arrives now."""
        self.delays = False
        for request in self.late:
            self.do(c.CreateTransfers("market", request.transfers))
        self.late.clear()

    async def GetTitle(self, request: Any, context: Any = None) -> ledger_service_pb2.GetTitleResponse:
        title = self.machine.titles.get(request.meme_id)
        return ledger_service_pb2.GetTitleResponse(
            title=ledger_pb2.Title(meme_id=request.meme_id, owner_id=title.owner_id)
        )

    async def GetAccount(self, request: Any, context: Any = None) -> ledger_service_pb2.GetAccountResponse:
        if self.machine.books.find(request.account_id, request.asset) is None:
            raise AccountNotFound
        account = self.account(request.account_id, request.asset)
        return ledger_service_pb2.GetAccountResponse(
            account=ledger_pb2.Account(available=account.balance - account.held)
        )

    async def CreateTransfers(
        self, request: Any, context: Any = None
    ) -> ledger_service_pb2.CreateTransfersResponse:
        if self.delays:
            self.late.append(request)
            raise DeadlineExceeded
        results = self.do(c.CreateTransfers("market", request.transfers))
        return ledger_service_pb2.CreateTransfersResponse(
            results=[
                ledger_pb2.TransferResult(id=transfer.id, reason=int(result.reason), detail=result.detail)  # type: ignore[arg-type] # the contract's numbers
                for transfer, result in zip(request.transfers, results, strict=True)
            ]
        )


class FaultyStub:
    """The ledger's stub without a wire: every call is a step."""

    def __init__(self, ledger: BookLedger, steps: Steps) -> None:
        self._ledger = ledger
        self._steps = steps

    async def GetTitle(self, request: Any) -> Any:
        return await self._call(self._ledger.GetTitle, request)

    async def GetAccount(self, request: Any) -> Any:
        return await self._call(self._ledger.GetAccount, request)

    async def CreateTransfers(self, request: Any) -> Any:
        return await self._call(self._ledger.CreateTransfers, request)

    async def _call(self, method: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
        try:
            return await self._steps.step(lambda: method(request), DeadlineExceeded)
        except DeadlineExceeded:
            raise
        except Failure as failure:
            raise RemoteFailure(failure.code, failure.reason, failure.message) from failure


class FakeChain:
    """Titles on chain: each sale moves its title once."""

    def __init__(self, steps: Steps | None = None) -> None:
        self._steps = steps or Steps()
        self.accepted: dict[str, Sale] = {}
        self.owners: dict[str, str] = {}
        self.away = False

    async def transfer_title(self, sale: Sale) -> None:
        async def accept() -> None:
            if self.away:
                raise Unavailable
            if sale.id not in self.accepted:
                self.accepted[sale.id] = sale
                self.owners[sale.meme_id] = sale.buyer_id

        await self._steps.step(accept, Unavailable)


@dataclass
class FakeNews:
    """What was told."""

    listings: list[Listing] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)

    def listing(self, listing: Listing) -> None:
        self.listings.append(listing)

    def offer(self, offer: Offer) -> None:
        self.offers.append(offer)

    def sale(self, sale: Sale) -> None:
        self.sales.append(sale)


def as_store(store: FaultyStore) -> Store:
    return cast("Store", store)
