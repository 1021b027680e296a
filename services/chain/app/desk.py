"""One term of leading: recovery first, then everything that goes on by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from mesh import logs, telemetry
from mesh.errors import RemoteFailure
from mesh.records import Busy, InDoubt, Stale, StoreUnavailable
from services.chain.app.books import Books
from services.chain.app.headers import load_chain
from services.chain.app.parts import Parts, Rules, World
from services.chain.app.ports import Fence
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.entities import Tx
from services.chain.domain.failures import NodeUnavailable, WalletEmpty
from services.chain.domain.states import UNMINED, TxState

log = logs.logger(__name__)

RETRY_S = 1.0
LOOK_S = 1.0
FEES_S = 600.0
TRANSIENT = (RemoteFailure, NodeUnavailable, Busy, StoreUnavailable)

_coins_free = telemetry.gauge("chain.coins.free", "Coins that can be spent now.", unit="{coin}")
_queued = telemetry.gauge(
    "chain.queue", "What waits for a transaction, by kind.", unit="{order}", by=("kind",)
)
_unmined = telemetry.gauge(
    "chain.transactions.unmined",
    "Transactions of ours that are not in a block.",
    unit="{transaction}",
)
_contested = telemetry.gauge(
    "chain.transactions.contested",
    "Transactions of ours with another spend of one of their coins.",
    unit="{transaction}",
)
_stuck = telemetry.gauge(
    "chain.transactions.stuck", "Transactions of ours that blocks go by without.", unit="{transaction}"
)
_height = telemetry.gauge("chain.height", "Height of the best block known.", unit="{block}")


class Desk(Parts):
    """All parts of a term, at work."""

    def __init__(self, world: World, rules: Rules, books: Books, fence: Fence) -> None:
        super().__init__(world, rules, books, fence)
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
        await desk.requests.hold_new()
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
            group.create_task(self._every(LOOK_S, self.freshness.look), name="look")
            group.create_task(self._read(), name="read")
            group.create_task(self._mempool(), name="mempool")
            group.create_task(self._hints(), name="hints")
            group.create_task(self._every(FEES_S, self.world.fees.refresh), name="fees")
            group.create_task(self._every(self.rules.mempool_s, self.mempool.poll), name="poll")
            group.create_task(self._every(self.rules.batch_s, self.pay), name="pay")
            group.create_task(self._work(), name="work")
            group.create_task(self._every(self.rules.tend_s, self.tend), name="tend")
            group.create_task(self._every(self.rules.tend_s, self.keep_house), name="keep house")
            group.create_task(self._every(self.rules.audit_s, self.audit.look), name="audit")
            group.create_task(self._every(self.rules.custody_s, self.custody_watch.look), name="custody")

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

    async def _hints(self) -> None:
        if self.world.hints is None:
            return
        async for txid in self.world.hints.transactions():
            await self._patiently(partial(self.sender.look, txid))

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
            if tx.plan not in self.books.txs:
                # Refused: perhaps the fee is too low by now. Not again at once.
                await self.world.fees.refresh()
                return

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
                await self.rejecting.reject(kept.value, "what was begun is finished")
        await self.sender.tend()
        await self.deposits.check_waiting()
        await self.requests.hold_new()
        _coins_free.set(len(self.wallet.spendable()))
        states = Counter(tx.state for tx in self.books.live())
        _unmined.set(sum(states[state] for state in UNMINED))
        _contested.set(states[TxState.CONTESTED])
        _queued.set(self.withdrawals.queued, {"kind": "withdrawal"})
        _queued.set(self.titles.queued, {"kind": "title"})
        _queued.set(self.results.queued, {"kind": "result"})

    async def keep_house(self) -> None:
        """What the wallet does of its own accord: one transaction of each kind that is due."""
        self.sweeping.look()
        _stuck.set(len(self.bumping.stuck()))
        quiet = () if self.withdrawals.queued else (self.sweeping.next, self.joining.tidy)
        for make in (self.bumping.next, *quiet):
            await self._patiently(partial(self._send_next, make))

    async def _send_next(self, make: Callable[[], Awaitable[Tx | None]]) -> None:
        if (tx := await make()) is not None:
            await self.sender.send(tx.plan)

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
