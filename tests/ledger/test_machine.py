"""Random lives of a small ledger against a slow model: money stays whole and a replay ends the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.ledger.app.replay import apply_all
from services.ledger.domain import audit
from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.rounds import RoundState
from tests.ledger import model
from tests.ledger.world import NS_PER_S, RATES, START_NS, World, txid_of, uid

USERS = ("a", "b", "v", "w")
MEMES = {"m-a": "a", "m-b": "b"}
# Small limits, so that all of them are met; primes, so that swapped shares show.
TIGHT = replace(
    RATES, platform_fee_bp=211, instant_bp=4507, creator_bp=1009, winner_bp=2003, session_max_s=40,
    scored_seconds_max=30, payout_min_sats=11,
)  # fmt: skip

users = st.sampled_from(USERS)
memes = st.sampled_from(sorted(MEMES))
amounts = st.integers(1, 120)


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        # What a journal would hold; None: only time passed.
        self.done: list[tuple[int, c.Command | None]] = []
        self.count = 0
        self.holds: list[str] = []
        self.sessions: list[str] = []
        self.deposits: list[str] = []
        # (since, owner) of each meme, as this test saw it.
        self.owners: dict[str, list[tuple[int, str]]] = {}
        for meme, creator in MEMES.items():
            self.do(c.IssueTitle(meme, creator))
            self.owners[meme] = [(0, creator)]
        for user in USERS:
            self.deposit_of(user, 700)
        self.open_round(60)

    def do(self, command: c.Command) -> Any:
        self.done.append((self.world.now_ns, command))
        try:
            return self.world.do(command)
        except Refused as refusal:
            return refusal.number

    def name(self, kind: str) -> str:
        self.count += 1
        return uid(f"{kind}{self.count}")

    @property
    def round_id(self) -> str:
        return uid(f"r{len(self.world.machine.rounds.by_id)}")

    @rule(seconds=st.sampled_from([0.5, 1, 1, 3, 7, 25]))
    def pass_time(self, seconds: float) -> None:
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)
        self.done.append((self.world.now_ns, None))

    @rule(user=users, sats=amounts)
    def deposit(self, user: str, sats: int) -> None:
        self.deposit_of(user, sats)

    def deposit_of(self, user: str, sats: int) -> None:
        name = self.name("d")
        self.deposits.append(name)
        self.do(c.CreditDeposits((c.Deposit(name, f"user:{user}", sats, txid_of(name), 0, "b" * 64),)))

    @precondition(lambda self: self.deposits)
    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        self.do(c.ReverseDeposit(self.name("x"), data.draw(st.sampled_from(self.deposits)), "orphaned"))

    @rule(debit=users, credit=users, amount=amounts)
    def pay(self, debit: str, credit: str, amount: int) -> None:
        available = self.world.machine.books.available(self.world.machine.books.number(f"user:{debit}"))
        debt = self.world.account(f"user:{debit}").debt
        reason = self.do(
            c.CreateTransfers(
                "market", (Transfer(self.name("t"), f"user:{debit}", f"user:{credit}", amount),)
            )
        )[0].reason
        assert (reason is Reason.OK) == (debit != credit and not debt and available >= amount)

    @rule(user=users, amount=amounts, lasts_s=st.sampled_from([0, 0, 5]))
    def hold(self, user: str, amount: int, lasts_s: int) -> None:
        name = self.name("h")
        held = Transfer(
            name, f"user:{user}", "chain:coins", amount, kind=TransferKind.HOLD, hold_expires_s=lasts_s
        )
        if self.do(c.CreateTransfers("chain", (held,)))[0].reason is Reason.OK:
            self.holds.append(name)

    @precondition(lambda self: self.holds)
    @rule(
        data=st.data(),
        kind=st.sampled_from([TransferKind.POST_HOLD, TransferKind.VOID_HOLD]),
        amount=st.integers(0, 99),
    )
    def end_hold(self, data: st.DataObject, kind: TransferKind, amount: int) -> None:
        hold_id = data.draw(st.sampled_from(self.holds))
        asked = 0 if kind is TransferKind.VOID_HOLD else amount
        self.do(
            c.CreateTransfers("chain", (Transfer(self.name("e"), kind=kind, hold_id=hold_id, amount=asked),))
        )

    @rule(meme=memes, buyer=users, price=amounts)
    def sell(self, meme: str, buyer: str, price: int) -> None:
        seller = self.owners[meme][-1][1]
        fee = max(1, price // 50)
        sale = (
            Transfer(self.name("t"), f"user:{buyer}", f"user:{seller}", price, linked=True),
            Transfer(self.name("t"), f"user:{buyer}", "platform:fee", fee, linked=True),
            Transfer(self.name("t"), f"user:{seller}", f"user:{buyer}", 1, asset=f"title:{meme}"),
        )
        reasons = [result.reason for result in self.do(c.CreateTransfers("market", sale))]
        if reasons == [Reason.OK] * 3:
            self.owners[meme].append((self.world.now_ns, buyer))
        else:
            assert Reason.OK not in reasons

    @precondition(lambda self: self.world.machine.rounds.current is None)
    @rule(length_s=st.sampled_from([20, 60]))
    def open_next(self, length_s: int) -> None:
        self.open_round(length_s)

    def open_round(self, length_s: int) -> None:
        name = f"r{len(self.world.machine.rounds.by_id) + 1}"
        self.do(self.world.round_command("a", "b", name=name, length_s=length_s, rates=TIGHT))

    @precondition(lambda self: self.world.machine.rounds.current is not None)
    @rule(viewer=users, meme=memes, budget=st.sampled_from([1, 2, 3, 20, 45, 100]))
    def open_session(self, viewer: str, meme: str, budget: int) -> None:
        name = self.name("s")
        if not isinstance(self.do(c.OpenSession(name, viewer, meme, budget)), Reason):
            self.sessions.append(name)

    @precondition(lambda self: self.sessions)
    @rule(seconds=st.integers(1, 9))
    def report_all(self, seconds: int) -> None:
        self.wait(seconds)
        self.report(self.sessions[-4:], 0)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), back=st.integers(-1, 3))
    def report_some(self, data: st.DataObject, back: int) -> None:
        self.report(data.draw(st.lists(st.sampled_from(self.sessions), max_size=3)), back)

    def report(self, chosen: list[str], back: int) -> None:
        lines = []
        for session_id in chosen:
            opened_ns = self.world.machine.meter.get(session_id).opened_ns
            lines.append(c.Seconds(session_id, max(0, (self.world.now_ns - opened_ns) // NS_PER_S - back)))
        receipts = self.do(c.ReportSeconds(tuple(lines)))
        assert all(back >= 0 or receipt.reason is not Reason.OK or receipt.stop for receipt in receipts)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), viewer=users)
    def close_session(self, data: st.DataObject, viewer: str) -> None:
        self.do(c.CloseSession(data.draw(st.sampled_from(self.sessions)), viewer))

    @precondition(lambda self: self.world.machine.rounds.current is not None and len(self.sessions) > 2)
    @rule()
    def lock(self) -> None:
        current = self.world.machine.rounds.current
        assert current is not None
        fresh = current.state is RoundState.OPEN
        locked = self.do(c.LockRound(current.id))
        for tally in locked.tallies if fresh else ():
            self.compare(current.id, tally)

    @precondition(lambda self: self.world.machine.rounds.current is not None)
    @rule(data=st.data())
    def distribute(self, data: st.DataObject) -> None:
        current = self.world.machine.rounds.current
        assert current is not None
        ranking = data.draw(st.permutations([m for m, book in current.memes.items() if book.has_score()]))
        pool = current.pool_sats
        paid = self.do(c.DistributePool(current.id, tuple(ranking)))
        if isinstance(paid, Reason):
            assert paid is Reason.ROUND_NOT_ACTIVE
        else:
            assert [payout.amount_sats for payout in paid.payouts] == model.pool(pool, len(ranking), TIGHT)
            assert paid.carried_out == pool - sum(payout.amount_sats for payout in paid.payouts)

    @precondition(lambda self: self.world.machine.rounds.current is not None and len(self.sessions) > 1)
    @rule(sure=st.sampled_from(["no", "yes"]))
    def void(self, sure: str) -> None:
        current = self.world.machine.rounds.current
        assert current is not None
        if sure == "yes":
            takings = sum(book.takings for book in current.memes.values())
            assert self.do(c.VoidRound(current.id, "mistake")).refunded == takings

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """What was done is done: a repeat changes nothing, whatever it was."""
        repeatable = (c.CreateTransfers, c.CreditDeposits, c.IssueTitle, c.OpenRound)
        done = [command for _, command in self.done if isinstance(command, repeatable)]
        command = data.draw(st.sampled_from(done))
        if isinstance(command, c.OpenRound) and command.round_id not in self.world.machine.rounds.by_id:
            return
        before = self.world.digest
        self.do(command)
        assert self.world.digest == before

    @invariant()
    def whole(self) -> None:
        assert set(self.world.machine.books.sums().values()) <= {0}

    def compare(self, round_id: str, tally: Any) -> None:
        """The tally of a locked round against the model, from the sessions' seconds and the owners seen."""
        by_owner: dict[str, int] = {}
        scored: dict[str, int] = {}
        for session in self.world.machine.meter.by_id.values():
            if (session.round.id, session.command.meme_id) != (
                round_id,
                tally.meme_id,
            ) or session.seconds < 3:
                continue
            for second in range(session.seconds):
                at_ns = session.opened_ns + second * NS_PER_S
                owner = [who for since, who in self.owners[tally.meme_id] if since <= at_ns][-1]
                by_owner[owner] = by_owner.get(owner, 0) + 1
                viewer = session.command.viewer_id
                if viewer not in (owner, MEMES[tally.meme_id]):
                    scored[viewer] = min(scored.get(viewer, 0) + 1, TIGHT.scored_seconds_max)
        fee, creator, owners, pool = model.split(by_owner, TIGHT)
        assert (tally.fee, tally.creator, tally.owner, tally.pool) == (
            fee,
            creator,
            sum(owners.values()),
            pool,
        )
        assert (tally.scored_seconds, tally.viewers) == (sum(scored.values()), len(scored))

    def teardown(self) -> None:
        again = Machine()
        again.advance(START_NS, c.Reign(10))
        for at_ns, command in self.done:
            again.advance(at_ns)
            if command is not None:
                apply_all(again, [command])
        assert audit.digest(again) == self.world.digest
        assert again.result_hash() == self.world.machine.result_hash()


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=250, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
