"""A world for the chain service: a simple ledger that keeps its promises, users, news that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mesh.clock import SystemClock
from mesh.errors import Code, RemoteFailure
from mesh.ids import made_ns
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.chain.app.custody import Custody, custody
from services.chain.app.desk import Desk
from services.chain.app.orders import Policy
from services.chain.app.parts import Rules, World
from services.chain.app.ports import (
    Broadcaster,
    ChainNews,
    ChainReader,
    Credit,
    DepositView,
    Hold,
    Movement,
    Post,
    Reason,
    Refusal,
    Release,
    ResultView,
    Subject,
    TitleView,
    Transfer,
    WithdrawalView,
)
from services.chain.app.records import SETS, Records
from services.chain.app.withdrawal_requests import WithdrawalRule
from services.chain.domain.addresses import address_of
from services.chain.domain.entities import Deposit, Withdrawal
from services.chain.domain.headers import Switch
from services.chain.domain.inscriptions import Inscription, read_inscription
from services.chain.domain.keys import FLOAT, KeyRing, KeyUse
from services.chain.domain.scripts import BadScript
from services.chain.domain.values import (
    COINS_ACCOUNT,
    COLD_ACCOUNT,
    FLOAT_USER,
    MemeId,
    Network,
    Sats,
    UserId,
    account_of,
)
from services.chain.domain.wire import Transaction
from tests.chain.chainsim import SimNode

NS_PER_MS = 1_000_000
SEED = bytes(range(64))
ANNA = UserId("0190aaaa-0000-7000-8000-00000000000a")
BERT = UserId("0190bbbb-0000-7000-8000-00000000000b")
CARA = UserId("0190cccc-0000-7000-8000-00000000000c")
# Somebody elsewhere: the hash of a key, and its address.
OUTSIDE = bytes(range(20))
ADDRESS = address_of(OUTSIDE, Network.REGTEST)


class FakeLedger:
    """Accounts, holds and deposits as the real ledger treats them: ids are remembered, refusals as well."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.titles: dict[MemeId, UserId] = {}
        self.holds: dict[str, Hold] = {}
        self.debts: dict[str, int] = {}
        self.answers: dict[str, tuple[Movement, Refusal | None]] = {}
        self.credits: dict[str, Credit] = {}
        self.standing: dict[str, Credit] = {}
        self.reversals: dict[str, str] = {}
        self.down = False
        self.lose_answers = 0
        # Ids of deposits from before are refused.
        self.horizon_ns = 0
        # Which of the next answers is lost, counted from 1; 0: none.
        self.lose_answer_no = 0

    def held(self, account: str) -> int:
        return sum(hold.sats for hold in self.holds.values() if hold.account == account)

    def available(self, account: str) -> int:
        return self.balances.get(account, 0) - self.held(account)

    async def move(self, movements: Sequence[Movement]) -> list[Refusal | None]:
        self._reach()
        if any(not 0 <= getattr(movement, "sats", 0) < 1 << 63 for movement in movements):
            raise ValueError("no message can say this amount")
        done = [self._again(movement) for movement in movements]
        self._answer()
        return done

    def _again(self, movement: Movement) -> Refusal | None:
        if movement.id in self.answers:
            known, refusal = self.answers[movement.id]
            return refusal if known == movement else Refusal(Reason.OTHER, "ID_REUSED")
        refusal = self._move(movement)
        self.answers[movement.id] = (movement, refusal)
        return refusal

    def _move(self, movement: Movement) -> Refusal | None:
        match movement:
            case Hold():
                if self.available(movement.account) < movement.sats or movement.account in self.debts:
                    return Refusal(Reason.INSUFFICIENT, f"available {self.available(movement.account)}")
                self.holds[movement.id] = movement
            case Post():
                hold = self.holds.get(movement.hold_id)
                if hold is None or movement.sats > hold.sats:
                    return Refusal(Reason.OTHER, "HOLD")
                del self.holds[movement.hold_id]
                self._transfer(hold.account, COINS_ACCOUNT, movement.sats)
            case Release():
                released = self.holds.pop(movement.hold_id, None)
                if released is None:
                    return Refusal(Reason.OTHER, "HOLD")
                self._settle(released.account)
            case Transfer():
                contra = movement.debit in (COINS_ACCOUNT, COLD_ACCOUNT)
                if not contra and self.available(movement.debit) < movement.sats:
                    return Refusal(Reason.INSUFFICIENT, f"available {self.available(movement.debit)}")
                self._transfer(movement.debit, movement.credit, movement.sats)
                self._settle(movement.credit)
        return None

    async def credit(self, credits_: Sequence[Credit]) -> None:
        self._reach()
        if any(made_ns(credit.id) < self.horizon_ns for credit in credits_):
            raise RemoteFailure(Code.OUT_OF_RANGE, "ID_OUT_OF_TIME", "take a new id")
        for credit in credits_:
            if credit.id in self.credits:
                assert self.credits[credit.id] == credit
                continue
            outpoints = {(one.txid, one.vout) for one in self.standing.values()}
            assert (credit.txid, credit.vout) not in outpoints
            self.credits[credit.id] = self.standing[credit.id] = credit
            account = account_of(credit.user_id)
            self._transfer(COINS_ACCOUNT, account, credit.sats)
            self._settle(account)
        self._answer()

    async def reverse(self, reversal_id: str, credit_id: str, reason: str) -> None:
        self._reach()
        if reversal_id not in self.reversals:
            credit = self.standing.pop(credit_id, None)
            if credit is None:
                raise RemoteFailure(Code.NOT_FOUND, "DEPOSIT_NOT_FOUND", "no such deposit stands")
            account = account_of(credit.user_id)
            missing = max(0, credit.sats - self.available(account))
            if missing:
                self._transfer("debts", account, missing)
                self.debts[account] = self.debts.get(account, 0) + missing
            self._transfer(account, COINS_ACCOUNT, credit.sats)
            self.reversals[reversal_id] = credit_id
        self._answer()

    async def owed_sats(self) -> Sats:
        self._reach()
        return Sats(-self.balances.get(COINS_ACCOUNT, 0))

    async def cold_sats(self) -> Sats:
        self._reach()
        return Sats(-self.balances.get(COLD_ACCOUNT, 0))

    async def title_owners(self, meme_ids: Sequence[MemeId]) -> Mapping[MemeId, UserId]:
        self._reach()
        return {meme_id: self.titles[meme_id] for meme_id in meme_ids if meme_id in self.titles}

    async def available_sats(self, account: str) -> Sats:
        self._reach()
        return Sats(self.available(account))

    def _transfer(self, debit: str, credit: str, sats: int) -> None:
        self.balances[debit] = self.balances.get(debit, 0) - sats
        self.balances[credit] = self.balances.get(credit, 0) + sats
        assert sum(self.balances.values()) == 0

    def _settle(self, account: str) -> None:
        """Whoever gets something pays its debt first."""
        paid = min(self.debts.get(account, 0), self.available(account))
        if paid > 0:
            self._transfer(account, "debts", paid)
            self.debts[account] -= paid
            if not self.debts[account]:
                del self.debts[account]

    def _reach(self) -> None:
        if self.down:
            raise RemoteFailure(Code.UNAVAILABLE, "UNAVAILABLE", "the ledger is away")

    def _answer(self) -> None:
        if self.lose_answer_no:
            self.lose_answer_no -= 1
            self.lose_answers += not self.lose_answer_no
        if self.lose_answers:
            self.lose_answers -= 1
            raise RemoteFailure(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "the answer was lost")


@dataclass
class FakeUsers:
    """Standing payout addresses."""

    addresses: dict[UserId, str] = field(default_factory=dict)

    async def payout_addresses(self, user_ids: Sequence[UserId]) -> Mapping[UserId, str]:
        return {user: self.addresses[user] for user in user_ids if user in self.addresses}


@dataclass
class KeptNews:
    """Events, as they were told."""

    switches: list[tuple[str, Switch]] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)

    def blocks(self, event_id: str, at_ns: int, switch: Switch) -> None:
        self.switches.append((event_id, switch))

    def changed(self, subject: Subject) -> None:
        self.subjects.append(subject)

    @property
    def deposits(self) -> list[Deposit]:
        return [one.deposit for one in self.subjects if isinstance(one, DepositView)]

    @property
    def withdrawals(self) -> list[Withdrawal]:
        return [one.withdrawal for one in self.subjects if isinstance(one, WithdrawalView)]

    @property
    def titles(self) -> list[TitleView]:
        return [one for one in self.subjects if isinstance(one, TitleView)]

    @property
    def results(self) -> list[ResultView]:
        return [one for one in self.subjects if isinstance(one, ResultView)]


class Node(ChainReader, Broadcaster, Protocol):
    """Both in one, as a node is."""


class NoNews:
    """A node that tells nothing unasked."""

    async def blocks(self) -> AsyncIterator[None]:
        return
        yield

    async def transactions(self) -> AsyncIterator[bytes]:
        return
        yield


class Leads:
    """The lease is held, until somebody says it is not."""

    def __init__(self) -> None:
        self.lost: Exception | None = None

    def check(self) -> None:
        if self.lost:
            raise self.lost


RULES = Rules(
    withdrawal=WithdrawalRule(Network.REGTEST),
    policy=Policy(change_sats_min=2_000),
    final_depth=6,
    replace_after_blocks=1,
    batch_s=0.1,
    mempool_s=0.2,
    tend_s=0.5,
)


@dataclass
class Rig:
    """A desk, and what it stands on."""

    world: World
    rules: Rules
    ledger: FakeLedger
    users: FakeUsers
    news: KeptNews
    fence: Leads
    desk: Desk

    async def sync(self) -> None:
        """Follows the node to its best block, and applies everything."""
        while await self.desk.follower.follow():
            pass
        await self.desk.read_blocks()

    async def mempool(self) -> None:
        await self.desk.mempool.poll()

    async def restart(self) -> None:
        """As after a crash: memory is gone, the store is not."""
        self.desk = await Desk.open(self.world, self.rules, self.fence)

    async def live_on(self, store: Store) -> None:
        """The service is started again, over this store."""
        self.world = replace(self.world, records=Records(store))
        await self.restart()

    async def address(self, user: UserId) -> str:
        path = await self.desk.accounts.path(user, KeyUse.DEPOSIT)
        return self.world.keys.address(path)

    @property
    def float_address(self) -> str:
        return self.world.keys.address(FLOAT)

    def balance(self, user: UserId) -> int:
        return self.ledger.balances.get(account_of(user), 0)

    def available(self, user: UserId) -> int:
        return self.ledger.available(account_of(user))

    async def custody(self) -> Custody:
        return await custody(self.desk.books, self.ledger)

    async def balanced(self) -> None:
        found = await self.custody()
        assert found.difference_sats == 0, found


def inscribed_in(script: bytes) -> Inscription | None:
    """The inscription of a script, if it carries one."""
    try:
        return read_inscription(script)
    except BadScript:
        return None


@asynccontextmanager
async def opened_store(path: Path) -> AsyncIterator[Store]:
    async with open_sqlite(path, SETS) as store:
        yield store


async def open_rig(
    store: Store, node: Node, *, chain_news: ChainNews | None = None, seed: bytes = SEED, rules: Rules = RULES
) -> Rig:
    """A desk over this store and node."""
    ledger, users, news, fence = FakeLedger(), FakeUsers(), KeptNews(), Leads()
    world = World(
        records=Records(store),
        keys=KeyRing(seed, Network.REGTEST),
        reader=node,
        broadcaster=node,
        chain_news=chain_news or NoNews(),
        ledger=ledger,
        users=users,
        news=news,
        clock=SystemClock(),
    )
    return Rig(world, rules, ledger, users, news, fence, await Desk.open(world, rules, fence))


async def next_millisecond(rig: Rig) -> None:
    """Ids that are made from now on are above those from before, whatever their other bits are made of."""
    before = rig.world.clock.now_ns() // NS_PER_MS
    while rig.world.clock.now_ns() // NS_PER_MS == before:
        await asyncio.sleep(0)


def with_store(rig: Rig, store: Store) -> World:
    """The same world over another view of the store."""
    return replace(rig.world, records=Records(store))


async def script_of(rig: Rig, user: UserId) -> bytes:
    """What pays to a user, or to the float."""
    if user == FLOAT_USER:
        return rig.world.keys.key(FLOAT).script
    return rig.world.keys.key(await rig.desk.accounts.path(user, KeyUse.DEPOSIT)).script


async def fund(rig: Rig, sim: SimNode, user: UserId, sats: int, *, mine: bool = True) -> Transaction:
    tx = sim.fund(await script_of(rig, user), sats)
    if mine:
        sim.mine()
        await rig.sync()
    return tx
