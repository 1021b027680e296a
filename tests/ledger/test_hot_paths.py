"""The hot paths of transfers and of the meter do what the general paths do, in every case and for ever after.

Each life is lived three times: as it is, on the general paths alone, and from an image of itself again and
again. All answers and all that the ledger holds are compared after every step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from services.ledger.domain import commands as c
from services.ledger.domain.books import INT64_MAX, INT64_MIN
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.reasons import Refused
from services.ledger.domain.transfers import Transfers
from tests.ledger.test_columns import columns_of
from tests.ledger.test_restored import restored
from tests.ledger.world import NS_PER_S, RATES, World, txid_of, uid

USERS = ("a", "b", "v", "w")
ACCOUNTS = [
    *(f"user:{user}" for user in USERS),
    "user:new",
    "user:newer",
    "user:a|user:b",
    "user:",
    "user:a\n",
    "platform:fee",
    "platform:float",
    "chain:coins",
    "chain:cold",
    "debts",
    "mint",
    "pool:carried",
    "",
]
AMOUNTS = [1, 7, 30, 500, 2**62, 0, -1, INT64_MAX, INT64_MAX - 1, INT64_MIN]
MEMOS = ["", "", "", "sale:x", "8|m", "\0", "é\n", "x" * 128]
ENDS = (TransferKind.POST_HOLD, TransferKind.VOID_HOLD)
ALL_RATES = [
    replace(RATES, second_price_sats=price, free_below_s=free, scored_seconds_max=scored, session_max_s=most)
    for price, free, scored, most in [
        (1, 3, 600, 3600), (3, 0, 7, 41), (1, 1, 0, 41), (7, 3, 1, 20), (2, 30, 13, 41), (1, 50, 600, 41),
    ]
]  # fmt: skip


@contextmanager
def general_paths(world: World) -> Iterator[None]:
    """Within it the world takes no hot path."""

    def nothing_is_plain(_: Transfers, rows: Iterator[Sequence[Any]], *__: object) -> Any:
        row = next(rows, None)
        return None if row is None else row[5]

    sessions = list(world.machine.meter.by_id.values())
    kept = [session.plain_below_s for session in sessions]
    for session in sessions:
        session.plain_below_s = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transfers, "_plain", nothing_is_plain)
        yield
    for session, below_s in zip(sessions, kept, strict=True):
        if not session.stop:
            session.plain_below_s = session.plain_below_s or below_s


class Lives:
    """One life by lot, lived three times."""

    def __init__(self, seed: int) -> None:
        self.by_lot = random.Random(seed)
        self.plain, self.general, self.resumed = (World(checked=False) for _ in range(3))

    def do(self, command: c.Command, *, after_s: float = 0) -> None:
        """Does it in all; all answer the same, and are the same."""
        if self.by_lot.random() < 0.3:
            self.resumed.machine = restored(self.resumed.machine)
        with general_paths(self.general):
            answer = _answer(self.general, command, after_s)
        for world in (self.plain, self.resumed):
            assert _answer(world, command, after_s) == answer, command
            assert world.digest == self.general.digest, command
        self.plain.check()

    def deposit(self, name: str, account: str, sats: int) -> None:
        self.do(c.CreditDeposits((c.Deposit(uid(name), account, sats, txid_of(name), 0, "b" * 64),)))


def _answer(world: World, command: c.Command, after_s: float) -> Any:
    try:
        return world.do(command, after_s=after_s)
    except Refused as refusal:
        return refusal.number


class Traffic(Lives):
    """Transfers of all kinds, in rows and columns."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.deposits = [uid("none")]
        self.holds = [uid("none")]
        self.asked: list[Transfer] = []

    def step(self, number: int) -> None:
        lot, caller = self.by_lot.randrange(8), self.by_lot.choice(("market", "market", "chain", "rounds"))
        if lot == 0:
            self.deposits.append(f"d{number}")
            to = self.by_lot.choice([*ACCOUNTS[:5], "platform:float"])
            self.deposit(self.deposits[-1], to, self.by_lot.choice((10, 100, 1_000, 2**62)))
        elif lot == 1:
            deposit_id = uid(self.by_lot.choice(self.deposits))
            self.do(c.ReverseDeposit(uid(f"r{number}"), deposit_id, "orphaned"))
        else:
            rows = [self._transfer(f"{number}.{place}") for place in range(self.by_lot.randrange(1, 12))]
            if lot < 5:
                flat = {"kind": TransferKind.POST, "asset": "sat", "hold_id": "", "linked": False}
                columns = columns_of([replace(row, **flat) for row in rows])  # type: ignore[arg-type] # its fields
                self.do(c.PostTransfers(caller, columns), after_s=self.by_lot.choice((0, 0, 1, 3)))
            else:
                self.do(c.CreateTransfers(caller, rows), after_s=self.by_lot.choice((0, 0, 1, 3)))

    def _transfer(self, name: str) -> Transfer:
        """A new one, or one asked before, with the same words or with others."""
        pick = self.by_lot.choice
        if self.asked and self.by_lot.random() < 0.3:
            known = pick(self.asked)
            others = (replace(known, memo="other"), replace(known, amount=2), replace(known, linked=True))
            return pick((known, known, *others))
        names = ACCOUNTS[: pick((4, 6, len(ACCOUNTS)))]
        kind, debit = pick([TransferKind.POST] * 8 + [*TransferKind, TransferKind.HOLD]), pick(names)
        made = Transfer(
            uid(name),
            debit,
            pick(names),
            pick([*AMOUNTS[: pick((5, len(AMOUNTS)))], *self._edges(debit)]),
            kind=kind,
            hold_id=pick(self.holds) if kind in ENDS else "",
            hold_expires_s=pick((0, 0, 5)),
            linked=self.by_lot.random() < 0.15,
            memo=pick(MEMOS),
            asset=pick(["sat"] * 12 + ["", "title:x"]),
        )
        self.asked.append(made)
        if kind is TransferKind.HOLD:
            self.holds.append(made.id)
        return made

    def _edges(self, name: str) -> list[int]:
        """All that the account may give, all that it has, and one more."""
        account = self.plain.account(name)
        available = account.balance - account.held
        return [amount for amount in (available, available + 1, account.balance) if 0 < amount <= INT64_MAX]


class Viewings(Lives):
    """Rounds with sessions of everybody, creators and owners too, reported in all ways; titles are sold."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.creators = dict(zip(("m-a", "m-b"), USERS, strict=False))
        self.sessions: list[str] = []
        for user in USERS:
            self.deposit(user, f"user:{user}", 3_000)
        for meme, creator in self.creators.items():
            self.do(c.IssueTitle(meme, creator))

    def play(self, name: str, steps: int) -> None:
        starts_ns = self.plain.now_ns
        locks_ns = starts_ns + self.by_lot.choice((30, 60)) * NS_PER_S
        entries = tuple(c.Entry(meme, creator, 900_001) for meme, creator in self.creators.items())
        self.do(c.OpenRound(uid(name), self.by_lot.choice(ALL_RATES), starts_ns, locks_ns, entries))
        for step in range(steps):
            after_s = self.by_lot.choice((0, 0.3, 1, 1, 1, 2, 8))
            self.do(self._command(f"{name}.{step}", after_s), after_s=after_s)
        self.do(c.LockRound(uid(name)))
        books = self.plain.machine.rounds.by_id[uid(name)].memes
        ranking = tuple(meme for meme, book in books.items() if book.has_score())
        ends = (c.VoidRound(uid(name), "by lot"), c.DistributePool(uid(name), ranking))
        self.do(self.by_lot.choice(ends))

    def _command(self, name: str, after_s: float) -> c.Command:
        pick, lot = self.by_lot.choice, self.by_lot.randrange(14)
        if lot < 3 or not self.sessions:
            self.sessions.append(uid(name))
            budget = pick((1, 2, 20, 41, 300))
            return c.OpenSession(self.sessions[-1], pick(USERS), pick([*self.creators]), budget)
        if lot == 3:
            return c.CloseSession(pick(self.sessions), pick(USERS))
        if lot < 6:
            meme = pick([*self.creators])
            owner, asset = self.plain.owner(meme), f"title:{meme}"
            sold = Transfer(uid(name), f"user:{owner}", f"user:{pick(USERS)}", 1, asset=asset)
            return c.CreateTransfers("market", [sold])
        return self._report(self.plain.now_ns + round(after_s * NS_PER_S))

    def _report(self, now_ns: int) -> c.ReportSeconds:
        """Of sessions of all kinds, once or twice: what has passed, less, none, and what has not."""
        keys, seconds = [self.by_lot.randrange(2**64)], [1]
        for session_id in self.by_lot.choices(self.sessions, k=self.by_lot.randrange(1, 9)):
            session = self.plain.machine.meter.by_id.get(session_id)
            if session is not None:
                passed_s = (now_ns - session.opened_ns) // NS_PER_S
                keys.append(session.key)
                seconds.append(self.by_lot.choice((*[passed_s] * 6, passed_s - 1, passed_s + 1, 0, -5)))
        return c.ReportSeconds(keys, seconds)


@pytest.mark.parametrize("seed", range(60))
def test_transfers(seed: int) -> None:
    traffic = Traffic(seed)
    if seed % 2:  # all that int64 takes
        for user in "ab":
            traffic.deposit(f"all-{user}", f"user:{user}", 2**62)
    for number in range(40):
        traffic.step(number)


@pytest.mark.parametrize("seed", range(60))
def test_the_meter(seed: int) -> None:
    viewings = Viewings(seed)
    for number in range(3):
        viewings.play(f"r{number}", steps=40)
