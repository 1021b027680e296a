"""The world around the market, in memory: a ledger that really moves things, a chain, and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar, cast

from mesh.errors import Unavailable
from mesh.records import Bins, InDoubt, Record, Store
from services.market.app.ports import Refusal, Refused
from services.market.domain.failures import TitleNotFound, Unsettled
from services.market.domain.listings import Listing, MemeId, UserId
from services.market.domain.sales import SAT, Leg, Sale, Transfer

Result = TypeVar("Result")
MINT = "mint"


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

    async def step(self, work: Callable[[], Awaitable[Result]], failure: type[Unavailable]) -> Result:
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


class FakeLedger:
    """Balances in memory: linked transfers are made together or not at all, and an id is answered once."""

    def __init__(self, steps: Steps | None = None) -> None:
        self.balances: Counter[tuple[str, str]] = Counter()
        self.made: dict[str, Transfer] = {}
        self._answers: dict[str, tuple[Transfer, Refused | None]] = {}
        self._steps = steps or Steps()
        self.late: list[Sequence[Transfer]] = []
        self.delays = False

    def fund(self, user_id: str, amount_sats: int) -> None:
        self.balances[f"user:{user_id}", SAT] += amount_sats
        self.balances[MINT, SAT] -= amount_sats

    def issue(self, meme_id: str, owner_id: str) -> None:
        self.balances[f"user:{owner_id}", f"title:{meme_id}"] += 1
        self.balances[MINT, f"title:{meme_id}"] -= 1

    def sats(self, account: str) -> int:
        return self.balances[account if ":" in account else f"user:{account}", SAT]

    def owner_of(self, meme_id: str) -> str:
        owners = [
            account.removeprefix("user:")
            for (account, asset), balance in self.balances.items()
            if asset == f"title:{meme_id}" and balance > 0
        ]
        if not owners:
            raise TitleNotFound
        assert len(owners) == 1, f"a title with {len(owners)} owners"
        return owners[0]

    def check_conservation(self) -> None:
        totals: Counter[str] = Counter()
        for (account, asset), balance in self.balances.items():
            assert balance >= 0 or account == MINT, f"{account} is overdrawn"
            totals[asset] += balance
        assert not any(totals.values()), totals

    async def owner(self, meme_id: MemeId) -> UserId:
        async def read() -> UserId:
            return UserId(self.owner_of(meme_id))

        return await self._steps.step(read, Unavailable)

    async def available_sats(self, user_id: UserId) -> int:
        async def read() -> int:
            return self.sats(user_id)

        return await self._steps.step(read, Unavailable)

    async def settle(self, transfers: Sequence[Transfer]) -> Refused | None:
        async def move() -> Refused | None:
            if self.delays:
                self.late.append(transfers)
                raise Unsettled
            return self.apply(transfers)

        return await self._steps.step(move, Unsettled)

    def arrive(self) -> None:
        """What was on its way arrives now."""
        self.delays = False
        for transfers in self.late:
            self.apply(transfers)
        self.late.clear()

    def apply(self, transfers: Sequence[Transfer]) -> Refused | None:
        known = [self._answers.get(transfer.id) for transfer in transfers]
        if any(known):
            if [answer and answer[0] for answer in known] == list(transfers) and known[0] is not None:
                return known[0][1]
            return Refused(Refusal.ID_REUSED, transfers[0].leg, "")
        refused = self._make(transfers)
        self._answers.update({transfer.id: (transfer, refused) for transfer in transfers})
        return refused

    def _make(self, transfers: Sequence[Transfer]) -> Refused | None:
        after = self.balances.copy()
        for transfer in transfers:
            after[transfer.debit_account, transfer.asset] -= transfer.amount
            after[transfer.credit_account, transfer.asset] += transfer.amount
            if after[transfer.debit_account, transfer.asset] < 0:
                refusal = Refusal.NOT_OWNER if transfer.leg is Leg.TITLE else Refusal.INSUFFICIENT_FUNDS
                return Refused(refusal, transfer.leg, f"{transfer.debit_account} has too little")
        self.balances = after
        self.made.update({transfer.id: transfer for transfer in transfers})
        self.check_conservation()
        return None


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
    sales: list[Sale] = field(default_factory=list)

    def listing(self, listing: Listing) -> None:
        self.listings.append(listing)

    def sale(self, sale: Sale) -> None:
        self.sales.append(sale)


def as_store(store: FaultyStore) -> Store:
    return cast("Store", store)
