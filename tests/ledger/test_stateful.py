"""Random lives of a ledger beside the slow one: same answers, same balances, and a replay ends the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.reasons import Reason
from tests.ledger.twin import Twin
from tests.ledger.world import RATES, txid_of, uid

USERS = ("a", "b", "v", "w")
ENTRIES = (("m-a", "a", 900_001), ("m-b", "b", 800_011))
MEMES = tuple(meme for meme, _, _ in ENTRIES)
# Small limits, so that all of them are met; primes, so that swapped shares show.
TIGHT = replace(
    RATES, platform_fee_bp=211, instant_bp=4507, creator_bp=1009, winner_bp=2003, session_max_s=41,
    scored_seconds_max=31, payout_min_sats=11,
)  # fmt: skip
DEAR = replace(
    TIGHT, platform_fee_bp=1999, instant_bp=7919, second_price_sats=3, free_below_s=1, ranks_paid=1
)

users = st.sampled_from(USERS)
memes = st.sampled_from(MEMES)
amounts = st.integers(1, 120)
accounts = st.sampled_from(
    [
        *(f"user:{user}" for user in USERS),
        "platform:fee",
        "platform:float",
        "chain:coins",
        "chain:cold",
        "pool:carried",
    ]
)
callers = st.sampled_from(["market", "chain"])


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()
        self.count = 0
        self.rounds = 0
        self.holds: list[str] = []
        self.deposits: list[str] = []
        for user in USERS:
            self.deposit(user, 700)
        self.open_round(60, TIGHT)

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    @property
    def round_name(self) -> str:
        return f"r{self.rounds}"

    @rule(seconds=st.sampled_from([0.5, 1, 1, 3, 7, 25]))
    def wait(self, seconds: float) -> None:
        self.twin.wait(seconds)

    # Coins.

    @rule(user=users, sats=amounts)
    def deposit(self, user: str, sats: int) -> None:
        name = self.name("d")
        self.deposits.append(name)
        self.twin.deposit(name, user, sats)

    @rule(data=st.data(), user=users, sats=amounts, block=st.sampled_from("bc"))
    def deposit_many(self, data: st.DataObject, user: str, sats: int, block: str) -> None:
        """Fresh ones and known ones, some of them with another body."""
        known = data.draw(st.sampled_from(self.deposits))
        fresh = self.name("d")
        self.deposits.append(fresh)
        self.twin.do(
            c.CreditDeposits(
                (
                    c.Deposit(uid(fresh), f"user:{user}", sats, txid_of(fresh), 0, "b" * 64),
                    *(
                        past.body if block == "b" else replace(past.body, block_hash=block * 64)
                        for past in self.twin.slow.deposits
                        if past.body.id == uid(known)
                    ),
                )
            )
        )

    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        self.twin.reverse(self.name("x"), data.draw(st.sampled_from(self.deposits)))

    # Transfers.

    @rule(debit=users, credit=users, amount=amounts)
    def pay(self, debit: str, credit: str, amount: int) -> None:
        self.twin.transfer(Transfer(uid(self.name("t")), f"user:{debit}", f"user:{credit}", amount))

    @rule(debit=users, credit=users, more=st.integers(-1, 1), kept=st.booleans())
    def pay_all(self, debit: str, credit: str, more: int, kept: bool) -> None:
        """All that may be spent, or all that is there with what is kept back, or one satoshi beside it."""
        account = (f"user:{debit}", "sat")
        amount = (self.twin.slow.balance(account) if kept else self.twin.slow.available(account)) + more
        self.twin.transfer(Transfer(uid(self.name("t")), f"user:{debit}", f"user:{credit}", amount))

    @rule(data=st.data(), caller=callers, length=st.integers(1, 4), loose=st.booleans())
    def chain(self, data: st.DataObject, caller: str, length: int, loose: bool) -> None:
        """Any transfers one after the other, linked or not."""
        batch = [data.draw(self.transfers(link < length - 1 and not loose)) for link in range(length)]
        reasons = self.twin.transfer(*batch, caller=caller)
        for transfer, reason in zip(batch, reasons, strict=True):
            if transfer.kind == TransferKind.HOLD and reason is Reason.OK:
                self.holds.append(transfer.id)

    def transfers(self, linked: bool) -> st.SearchStrategy[Transfer]:
        kinds = [TransferKind.POST, TransferKind.HOLD, TransferKind.POST, TransferKind.POST_HOLD]
        holds = st.sampled_from(self.holds) if self.holds else st.just(uid("none"))
        moves = st.builds(
            Transfer,
            st.just(uid(self.name("c"))),
            accounts,
            accounts,
            st.integers(0, 300),
            kind=st.sampled_from(kinds[:3]),
            asset=st.sampled_from(["sat", "sat", "sat", "title:m-a", "title:none"]),
            linked=st.just(linked),
        )
        ends = st.builds(
            Transfer,
            st.just(uid(self.name("c"))),
            amount=st.sampled_from([0, 1, 30, 500]),
            kind=st.sampled_from([TransferKind.POST_HOLD, TransferKind.VOID_HOLD]),
            hold_id=holds,
            linked=st.just(linked),
        )
        return moves | moves | ends

    @rule(user=users, amount=amounts, lasts_s=st.sampled_from([0, 0, 5]))
    def hold(self, user: str, amount: int, lasts_s: int) -> None:
        hold_id = uid(self.name("h"))
        held = Transfer(
            hold_id, f"user:{user}", "chain:coins", amount, kind=TransferKind.HOLD, hold_expires_s=lasts_s
        )
        if self.twin.transfer(held, caller="chain") == [Reason.OK]:
            self.holds.append(hold_id)

    @precondition(lambda self: self.holds)
    @rule(
        data=st.data(),
        kind=st.sampled_from([TransferKind.POST_HOLD, TransferKind.VOID_HOLD]),
        amount=st.integers(0, 99),
    )
    def end_hold(self, data: st.DataObject, kind: TransferKind, amount: int) -> None:
        asked = 0 if kind is TransferKind.VOID_HOLD else amount
        hold_id = data.draw(st.sampled_from(self.holds))
        self.twin.transfer(
            Transfer(uid(self.name("e")), kind=kind, hold_id=hold_id, amount=asked), caller="chain"
        )

    @rule(meme=memes, buyer=users, price=amounts)
    def sell(self, meme: str, buyer: str, price: int) -> None:
        self.twin.sell(self.name("t"), meme, buyer, price)

    @rule(user=users, amount=amounts)
    def spend_fees(self, user: str, amount: int) -> None:
        """So that a void finds less than it paid."""
        self.twin.transfer(Transfer(uid(self.name("t")), "platform:fee", f"user:{user}", amount))

    # Rounds and sessions.

    @precondition(lambda self: self.twin.slow.current is None)
    @rule(length_s=st.sampled_from([20, 60]), rates=st.sampled_from([TIGHT, DEAR]))
    def open_next(self, length_s: int, rates: object) -> None:
        self.open_round(length_s, rates)

    @rule()
    def open_another(self) -> None:
        if self.twin.slow.current is not None:
            self.twin.open_round(f"{self.round_name}+", ENTRIES, rates=TIGHT)

    def open_round(self, length_s: int, rates: object) -> None:
        self.rounds += 1
        self.twin.open_round(self.round_name, ENTRIES, length_s=length_s, rates=rates)  # type: ignore[arg-type] # sampled

    @rule(viewer=users, meme=memes, budget=st.sampled_from([1, 2, 3, 20, 45, 100]))
    def open_session(self, viewer: str, meme: str, budget: int) -> None:
        self.twin.open_session(self.name("s"), viewer, meme, budget)

    @precondition(lambda self: self.twin.sessions)
    @rule(seconds=st.integers(1, 9))
    def watch(self, seconds: int) -> None:
        self.twin.wait(seconds)
        self.twin.report_all(self.twin.sessions[-4:])

    @precondition(lambda self: self.twin.sessions)
    @rule(data=st.data())
    def watch_to_the_limit(self, data: st.DataObject) -> None:
        """Reported on the very second at which budget, time or round are over."""
        name = data.draw(st.sampled_from(self.twin.sessions))
        left_s = self.twin.slow.sessions[uid(name)].limit_s - self.twin.elapsed_s(name)
        while left_s > 0:
            self.twin.wait(min(left_s, 9))
            self.twin.report_all(self.twin.sessions[-4:])
            left_s -= 9
        self.twin.report_all([name])

    @precondition(lambda self: self.twin.sessions)
    @rule(data=st.data(), back=st.integers(-1, 3))
    def report_some(self, data: st.DataObject, back: int) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.twin.sessions), max_size=3))
        self.twin.report_all(chosen, back)

    @precondition(lambda self: self.twin.sessions)
    @rule(data=st.data(), viewer=users)
    def close(self, data: st.DataObject, viewer: str) -> None:
        self.twin.close(data.draw(st.sampled_from(self.twin.sessions)), viewer)

    @precondition(lambda self: len(self.twin.sessions) > 2)
    @rule()
    def lock(self) -> None:
        self.twin.lock(self.round_name)

    @rule(right=st.sampled_from([True, True, False]))
    def distribute(self, right: bool) -> None:
        if right:
            self.twin.distribute(self.round_name)
        else:
            ranking = self.twin.slow.ranking(uid(self.round_name))
            self.twin.do(c.DistributePool(uid(self.round_name), (*ranking[1:], "m-c")))

    @precondition(lambda self: len(self.twin.sessions) > 1)
    @rule(sure=st.sampled_from(["no", "yes"]))
    def void(self, sure: str) -> None:
        if sure == "yes":
            self.twin.void(self.round_name)

    # Again.

    @precondition(lambda self: self.twin.accepted)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """What was done is done: a repeat changes nothing, whatever it was."""
        repeatable = (c.CreateTransfers, c.CreditDeposits, c.ReverseDeposit, c.IssueTitle)
        done = [command for command in self.twin.accepted if isinstance(command, repeatable)]
        before = self.twin.world.digest
        self.twin.do(data.draw(st.sampled_from(done)))
        assert self.twin.world.digest == before

    @rule(data=st.data(), amount=amounts)
    def reuse(self, data: st.DataObject, amount: int) -> None:
        """An id with another body does nothing."""
        done = [
            transfer
            for _, command in self.twin.done
            if isinstance(command, c.CreateTransfers)
            for transfer in command.transfers
            if isinstance(transfer, Transfer)
        ]
        if done:
            before = self.twin.world.digest
            other = replace(data.draw(st.sampled_from(done)), amount=amount, memo="other", linked=False)
            assert self.twin.transfer(other) == [Reason.ID_REUSED]
            assert self.twin.world.digest == before

    def teardown(self) -> None:
        self.twin.replay()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=100, stateful_step_count=50)
