"""One term of leading: recovery first, then everything that goes on by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from mesh import logs, telemetry
from mesh.clock import Clock
from mesh.errors import RemoteFailure
from mesh.records import Busy, InDoubt, Stale, StoreUnavailable
from services.chain.app.accounts import Accounts
from services.chain.app.books import Books
from services.chain.app.deposits import Deposits
from services.chain.app.floats import Float
from services.chain.app.follower import Follower, Reader
from services.chain.app.headers import load_chain
from services.chain.app.joining import Joining
from services.chain.app.mempool import Mempool
from services.chain.app.orders import Policy, Work
from services.chain.app.ports import Broadcaster, ChainNews, ChainReader, Fence, Ledger, News, Users
from services.chain.app.records import Records
from services.chain.app.results import Results
from services.chain.app.sender import Sender
from services.chain.app.titles import Titles
from services.chain.app.wallet import Wallet
from services.chain.app.withdrawals import WithdrawalRule, Withdrawals
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.entities import Tx
from services.chain.domain.failures import NodeUnavailable, WalletEmpty
from services.chain.domain.keys import KeyRing
from services.chain.domain.states import UNMINED, TxState
from services.chain.domain.values import Purpose

log = logs.logger(__name__)

RETRY_S = 1.0
TRANSIENT = (RemoteFailure, NodeUnavailable, Busy, StoreUnavailable)

_gauge = telemetry.meter.create_gauge
_coins_free = _gauge("chain.coins.free", description="Coins that can be spent now.")
_queued = _gauge("chain.queue", description="What waits for a transaction, by kind.")
_unmined = _gauge("chain.transactions.unmined", description="Transactions of ours that are not in a block.")
_contested = _gauge(
    "chain.transactions.contested",
    description="Transactions of ours with another spend of one of their coins.",
)
_height = _gauge("chain.height", description="Height of the best block known.")


@dataclass(frozen=True, slots=True)
class World:
    """What the service stands on, the same for every term."""

    records: Records
    keys: KeyRing
    reader: ChainReader
    broadcaster: Broadcaster
    chain_news: ChainNews
    ledger: Ledger
    users: Users
    news: News
    clock: Clock


@dataclass(frozen=True, slots=True)
class Rules:
    """How it behaves; times in seconds."""

    withdrawal: WithdrawalRule
    policy: Policy = field(default_factory=Policy)
    confirmations_needed: int = 1
    final_depth: int = 10
    replace_after_blocks: int = 6
    scan_from: int = 0
    batch_s: float = 3.0
    work_s: float = 0.25
    tend_s: float = 10.0
    mempool_s: float = 5.0
    late_s: float = 30.0


class Desk:
    """All parts of a term, wired."""

    def __init__(self, world: World, rules: Rules, books: Books, fence: Fence) -> None:
        self.world = world
        self.rules = rules
        self.books = books
        self.accounts = Accounts(world.records, world.keys)
        self.wallet = Wallet(
            books=books,
            keys=world.keys,
            ledger=world.ledger,
            fence=fence,
            clock=world.clock,
            policy=rules.policy,
        )
        float_ = Float(wallet=self.wallet, ledger=world.ledger, clock=world.clock)
        self.withdrawals = Withdrawals(
            books=books,
            wallet=self.wallet,
            ledger=world.ledger,
            users=world.users,
            news=world.news,
            clock=world.clock,
            rule=rules.withdrawal,
        )
        self.deposits = Deposits(
            books=books,
            accounts=self.accounts,
            keys=world.keys,
            ledger=world.ledger,
            node=world.reader,
            news=world.news,
            clock=world.clock,
            withdrawals=self.withdrawals,
            sats_min=rules.withdrawal.sats_min,
            confirmations_needed=rules.confirmations_needed,
        )
        self.titles = Titles(
            books=books,
            wallet=self.wallet,
            float_=float_,
            accounts=self.accounts,
            keys=world.keys,
            news=world.news,
            clock=world.clock,
        )
        self.results = Results(
            books=books,
            wallet=self.wallet,
            float_=float_,
            keys=world.keys,
            news=world.news,
            clock=world.clock,
        )
        self.joining = Joining(wallet=self.wallet, float_=float_)
        work: dict[Purpose, Work] = {
            Purpose.WITHDRAWAL: self.withdrawals,
            Purpose.INSCRIPTION: self.titles,
            Purpose.TITLE_TRANSFER: self.titles,
            Purpose.RESULT: self.results,
            Purpose.WALLET: self.joining,
        }
        self.wallet.work = work
        self.sender = Sender(
            books=books,
            wallet=self.wallet,
            reader=world.reader,
            broadcaster=world.broadcaster,
            clock=world.clock,
            replace_after_blocks=rules.replace_after_blocks,
        )
        self.follower = Follower(books=books, node=world.reader, news=world.news, clock=world.clock)
        self.reader = Reader(
            books=books,
            accounts=self.accounts,
            deposits=self.deposits,
            wallet=self.wallet,
            work=work,
            node=world.reader,
            final_depth=rules.final_depth,
        )
        self.mempool = Mempool(
            books=books,
            accounts=self.accounts,
            deposits=self.deposits,
            node=world.reader,
            news=world.chain_news,
        )
        self.wanted = asyncio.Event()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, world: World, rules: Rules, fence: Fence) -> Desk:
        """Recovers: reads what is open, finishes or gives up what a crash left half done."""
        chain = await load_chain(
            world.records, world.reader, world.clock, CONSENSUS[world.keys.network], rules.scan_from
        )
        books = Books(world.records, chain)
        await books.load()
        desk = cls(world, rules, books, fence)
        await desk.accounts.load()
        await desk.wallet.recover()
        await desk.withdrawals.recover()
        await desk.titles.recover()
        await desk.results.recover()
        await desk.follower.resume()
        log.info(
            "recovered",
            height=chain.tip.height,
            coins=len(books.coins),
            transactions=len(books.txs),
            withdrawals=desk.withdrawals.queued,
        )
        return desk

    @asynccontextmanager
    async def command(self) -> AsyncIterator[Desk]:
        """A caller's command. If the store leaves it in doubt, the term ends and memory is read anew."""
        try:
            yield self
        except (Stale, InDoubt) as problem:
            if not self._broken.done():
                self._broken.set_exception(problem)
            raise
        self.wanted.set()

    async def run(self) -> None:
        """Works until cancelled, or until something happens that only a recovery puts right."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._await_broken(), name="broken")
            group.create_task(self._follow(), name="follow")
            group.create_task(self._read(), name="read")
            group.create_task(self._mempool(), name="mempool")
            group.create_task(self._every(self.rules.mempool_s, self.mempool.poll), name="poll")
            group.create_task(self._every(self.rules.batch_s, self.pay), name="pay")
            group.create_task(self._work(), name="work")
            group.create_task(self._every(self.rules.tend_s, self.tend), name="tend")

    async def _await_broken(self) -> None:
        await self._broken

    async def _follow(self) -> None:
        async for _ in self.world.chain_news.blocks():
            await self._patiently(self._follow_once)

    async def _follow_once(self) -> None:
        await self.follower.follow()
        _height.set(self.books.chain.tip.height)

    async def _read(self) -> None:
        while True:
            self.follower.moved.clear()
            if await self._patiently(self.read_blocks):
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.rules.late_s):
                        await self.follower.moved.wait()

    async def read_blocks(self) -> None:
        """Applies new blocks, then sees to what is not in one."""
        await self.reader.catch_up()
        await self.tend()

    async def _mempool(self) -> None:
        async for raw in self.world.chain_news.transactions():
            await self._patiently(partial(self.mempool.take, [raw]))

    async def _work(self) -> None:
        while True:
            if not await self.write_next():
                self.wanted.clear()
                try:
                    async with asyncio.timeout(self.rules.work_s):
                        await self.wanted.wait()
                except TimeoutError:
                    continue

    async def pay(self) -> None:
        """Pays what is queued, batch by batch."""
        while self.withdrawals.queued:
            tx = await self.withdrawals.batch() or await self.joining.next()
            if tx is None:
                return
            await self.sender.send(tx.plan)

    async def write_next(self) -> bool:
        """Makes and sends one inscription, move or record of each kind; whether there was any."""
        done = False
        for make in (self.titles.next, self.results.next):
            found: list[Tx] = []

            async def one(make: Callable[[], Awaitable[Tx | None]] = make, found: list[Tx] = found) -> None:
                if (tx := await make()) is not None:
                    found.append(tx)
                    await self.sender.send(tx.plan)

            await self._patiently(one)
            done = done or bool(found)
        return done

    async def tend(self) -> None:
        """Sees to unmined transactions, waiting deposits and unknown outcomes."""
        for kept in list(self.books.txs.values()):
            if kept.value.state is TxState.REJECTED:
                await self.wallet.reject(kept.value, "what was begun is finished")
        await self.sender.tend()
        await self.deposits.check_waiting()
        await self.withdrawals.hold_new()
        _coins_free.set(len(self.wallet.spendable()))
        states = Counter(tx.state for tx in self.books.live())
        _unmined.set(sum(states[state] for state in UNMINED))
        _contested.set(states[TxState.CONTESTED])
        _queued.set(self.withdrawals.queued, {"kind": "withdrawal"})
        _queued.set(self.titles.queued, {"kind": "title"})
        _queued.set(self.results.queued, {"kind": "result"})

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._patiently(do)
            await self.world.clock.sleep(seconds)

    async def _patiently(self, do: Callable[[], Awaitable[None]]) -> bool:
        """Does it; what is only for now is said in the log, waited for, and left to the next time."""
        try:
            await do()
        except WalletEmpty as empty:
            log.warning("waiting for coins", **empty.metadata)
        except TRANSIENT as problem:
            log.warning("left for later", problem=str(problem))
        else:
            return True
        await self.world.clock.sleep(RETRY_S)
        return False
