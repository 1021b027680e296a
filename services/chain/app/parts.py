"""The parts of one term of leading, and how they hang together: each is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mesh.clock import Clock
from services.chain.app.accounts import Accounts
from services.chain.app.books import Books
from services.chain.app.bumping import Bumping, BumpRule
from services.chain.app.costs import Costs
from services.chain.app.custody_watch import CustodyWatch
from services.chain.app.deposits import Deposits
from services.chain.app.fees import FeeRate
from services.chain.app.floats import Float
from services.chain.app.follower import Follower
from services.chain.app.freezing import Freezing
from services.chain.app.freshness import Freshness
from services.chain.app.joining import Joining
from services.chain.app.mempool import Mempool
from services.chain.app.orders import CoinsOnly, Policy, Work
from services.chain.app.ports import Broadcaster, ChainNews, ChainReader, Fence, Hints, Ledger, News, Users
from services.chain.app.reader import Reader
from services.chain.app.records import Records
from services.chain.app.rejecting import Rejecting
from services.chain.app.results import Results
from services.chain.app.sender import Sender
from services.chain.app.sweeping import HotRule, Sweeping
from services.chain.app.title_audit import TitleAudit
from services.chain.app.titles import Titles
from services.chain.app.undoing import Undoing
from services.chain.app.wallet import Wallet
from services.chain.app.withdrawal_queue import WithdrawalQueue
from services.chain.app.withdrawal_requests import WithdrawalRequests, WithdrawalRule
from services.chain.app.withdrawals import Withdrawals
from services.chain.domain.keys import KeyRing
from services.chain.domain.spending import SATS_PER_KB_MIN
from services.chain.domain.values import Purpose


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
    hints: Hints | None = None
    fees: FeeRate = field(default_factory=lambda: FeeRate(SATS_PER_KB_MIN))


@dataclass(frozen=True, slots=True)
class Rules:
    """How it behaves; times in seconds."""

    withdrawal: WithdrawalRule
    policy: Policy = field(default_factory=Policy)
    bump: BumpRule = field(default_factory=BumpRule)
    hot: HotRule | None = None
    confirmations_needed: int = 1
    final_depth: int = 10
    replace_after_blocks: int = 6
    scan_from: int = 0
    batch_s: float = 3.0
    work_s: float = 0.25
    tend_s: float = 10.0
    mempool_s: float = 5.0
    late_s: float = 30.0
    stale_s: float = 60.0
    audit_s: float = 15.0
    audit_grace_s: float = 600.0
    custody_s: float = 60.0


class Parts:
    """Everything that works in a term, wired."""

    def __init__(self, world: World, rules: Rules, books: Books, fence: Fence) -> None:
        self.world = world
        self.rules = rules
        self.books = books
        self.costs = Costs(books=books, ledger=world.ledger)
        self.rejecting = Rejecting(books=books, costs=self.costs)
        self.freezing = Freezing(records=world.records, clock=world.clock)
        self.wallet = Wallet(
            books=books,
            keys=world.keys,
            rejecting=self.rejecting,
            freezing=self.freezing,
            fence=fence,
            clock=world.clock,
            policy=rules.policy,
            fees=world.fees,
        )
        self.wallet.work = self.rejecting.work = self.work

    @cached_property
    def work(self) -> Mapping[Purpose, Work]:
        """Who is told of a transaction's life, by what it is for."""
        return {
            Purpose.WITHDRAWAL: self.withdrawals,
            Purpose.INSCRIPTION: self.titles,
            Purpose.TITLE_TRANSFER: self.titles,
            Purpose.RESULT: self.results,
            Purpose.WALLET: CoinsOnly(),
            Purpose.BUMP: CoinsOnly(),
            Purpose.SWEEP: self.sweeping,
        }

    # money in and out

    @cached_property
    def accounts(self) -> Accounts:
        """Key indexes of users."""
        return Accounts(self.world.records, self.world.keys)

    @cached_property
    def deposits(self) -> Deposits:
        """What others send."""
        return Deposits(
            books=self.books,
            accounts=self.accounts,
            keys=self.world.keys,
            ledger=self.world.ledger,
            node=self.world.reader,
            news=self.world.news,
            clock=self.world.clock,
            withdrawals=self.withdrawals,
            sats_min=self.rules.withdrawal.sats_min,
            confirmations_needed=self.rules.confirmations_needed,
        )

    @cached_property
    def _withdrawal_queue(self) -> WithdrawalQueue:
        return WithdrawalQueue(books=self.books, news=self.world.news)

    @cached_property
    def requests(self) -> WithdrawalRequests:
        """What users want to take out."""
        return WithdrawalRequests(
            queue=self._withdrawal_queue,
            ledger=self.world.ledger,
            users=self.world.users,
            clock=self.world.clock,
            rule=self.rules.withdrawal,
        )

    @cached_property
    def withdrawals(self) -> Withdrawals:
        """What users take out."""
        return Withdrawals(
            books=self.books,
            queue=self._withdrawal_queue,
            wallet=self.wallet,
            ledger=self.world.ledger,
            network=self.rules.withdrawal.network,
        )

    # what the float pays for

    @cached_property
    def float_(self) -> Float:
        """The operator's money."""
        return Float(wallet=self.wallet, ledger=self.world.ledger, clock=self.world.clock)

    @cached_property
    def titles(self) -> Titles:
        """Inscriptions and their moves."""
        return Titles(
            books=self.books,
            wallet=self.wallet,
            float_=self.float_,
            accounts=self.accounts,
            keys=self.world.keys,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def audit(self) -> TitleAudit:
        """Whether ledger and chain agree on who owns what."""
        return TitleAudit(
            records=self.world.records,
            books=self.books,
            accounts=self.accounts,
            keys=self.world.keys,
            source=self.world.reader,
            ledger=self.world.ledger,
            clock=self.world.clock,
            grace_s=self.rules.audit_grace_s,
        )

    @cached_property
    def results(self) -> Results:
        """Records of rounds."""
        return Results(
            books=self.books,
            wallet=self.wallet,
            float_=self.float_,
            keys=self.world.keys,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def joining(self) -> Joining:
        """Many small coins to few."""
        return Joining(books=self.books, wallet=self.wallet, float_=self.float_, policy=self.rules.policy)

    @cached_property
    def bumping(self) -> Bumping:
        """Children for what is stuck."""
        return Bumping(
            books=self.books,
            wallet=self.wallet,
            float_=self.float_,
            rule=self.rules.bump,
            fees=self.world.fees,
        )

    @cached_property
    def sweeping(self) -> Sweeping:
        """The hot wallet between floor and ceiling."""
        return Sweeping(
            books=self.books,
            wallet=self.wallet,
            float_=self.float_,
            ledger=self.world.ledger,
            rule=self.rules.hot or HotRule(self.world.keys.network),
        )

    @cached_property
    def custody_watch(self) -> CustodyWatch:
        """Whether every coin is accounted for."""
        return CustodyWatch(books=self.books, ledger=self.world.ledger)

    # the chain

    @cached_property
    def sender(self) -> Sender:
        """To the miners, until a block has it."""
        return Sender(
            books=self.books,
            wallet=self.wallet,
            costs=self.costs,
            rejecting=self.rejecting,
            reader=self.world.reader,
            broadcaster=self.world.broadcaster,
            clock=self.world.clock,
            replace_after_blocks=self.rules.replace_after_blocks,
        )

    @cached_property
    def follower(self) -> Follower:
        """Our chain at the best tip."""
        return Follower(
            books=self.books,
            node=self.world.reader,
            news=self.world.news,
            clock=self.world.clock,
            freshness=self.freshness,
        )

    @cached_property
    def freshness(self) -> Freshness:
        """Whether that tip is still confirmed."""
        return Freshness(chain=self.books.chain, clock=self.world.clock, stale_s=self.rules.stale_s)

    @cached_property
    def undoing(self) -> Undoing:
        """Blocks that left the chain."""
        return Undoing(
            books=self.books,
            deposits=self.deposits,
            wallet=self.wallet,
            work=self.work,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def reader(self) -> Reader:
        """What stands in blocks."""
        return Reader(
            books=self.books,
            accounts=self.accounts,
            deposits=self.deposits,
            wallet=self.wallet,
            work=self.work,
            node=self.world.reader,
            undoing=self.undoing,
            final_depth=self.rules.final_depth,
        )

    @cached_property
    def mempool(self) -> Mempool:
        """What waits to be mined."""
        return Mempool(
            books=self.books,
            accounts=self.accounts,
            deposits=self.deposits,
            node=self.world.reader,
            news=self.world.chain_news,
        )
