"""What the tests of the ledger share: a small world of people, memes and a round, always checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from mesh.ids import derived_id
from services.ledger.domain import audit
from services.ledger.domain import commands as c
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.sessions import Receipt, Report, SessionView, StopReason, view_session
from services.ledger.domain.shares import Parameters
from services.ledger.domain.views import AccountView, RoundView, view_account, view_round

NS_PER_S = 1_000_000_000
START_NS = 1_800_000_000 * NS_PER_S
RATES = Parameters(
    version=1,
    platform_fee_bp=200,
    instant_bp=4500,
    creator_bp=1000,
    winner_bp=2000,
    ranks_paid=100,
    payout_min_sats=100,
    second_price_sats=1,
    free_below_s=3,
    session_max_s=3600,
    scored_seconds_max=600,
)


# Ids may be made a little ahead of the ledger's clock, so that one name can be used all through a test.
IDS_NS = START_NS + 1_800 * NS_PER_S


def uid(name: str, at_ns: int = IDS_NS) -> str:
    """An id that a test can call by a name; ids carry the time about which they were made."""
    return derived_id(at_ns, name)


def txid_of(name: str) -> str:
    """A transaction's id that a test can call by a name."""
    return hashlib.sha256(name.encode()).hexdigest()


class World:
    """A state machine on a clock that the test moves. After every step all invariants are checked.

    Rounds and sessions are called by names here; their ids are `uid(name)`.
    """

    def __init__(self, *, checked: bool = True, silence_s: int = 10) -> None:
        self.machine = Machine()
        self.now_ns = START_NS
        self.checked = checked
        self.machine.advance(self.now_ns, c.Reign(silence_s))

    def do(self, command: c.Command, *, after_s: float = 0) -> Any:
        """Applies a command some time after the last one."""
        self.now_ns += round(after_s * NS_PER_S)
        self.machine.advance(self.now_ns)
        try:
            return self.machine.apply(command)
        finally:
            self.check()

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self.now_ns += round(seconds * NS_PER_S)
        self.machine.advance(self.now_ns)
        self.check()

    def check(self) -> None:
        """Every invariant holds."""
        if self.checked:
            assert audit.problems(self.machine) == []

    @property
    def digest(self) -> str:
        """Of all that the ledger holds."""
        return audit.digest(self.machine)

    def refused(self, command: c.Command, reason: Reason) -> None:
        """The command is refused for this reason, and nothing changed."""
        before = self.digest
        with pytest.raises(Refused) as refusal:
            self.do(command)
        assert refusal.value.number is reason
        assert self.digest == before

    def transfer(self, *transfers: c.Transfer, caller: str = "market") -> list[Reason]:
        """Reasons of the results."""
        return [result.reason for result in self.do(c.CreateTransfers(caller, transfers))]

    def transfer_refused(self, reason: Reason, *transfers: c.Transfer, caller: str = "market") -> None:
        """All are refused, one for this reason and those linked to it for theirs; nothing changed."""
        before = self.digest
        reasons = self.transfer(*transfers, caller=caller)
        assert [r for r in reasons if r is not Reason.LINKED_TRANSFER_FAILED] == [reason]
        assert self.digest == before

    def fund(self, user: str, sats: int) -> None:
        """A deposit."""
        tag = f"{user}:{len(self.machine.deposits.by_id)}"
        deposit = c.Deposit(uid(tag), f"user:{user}", sats, txid_of(tag), 0, "b" * 64)
        self.do(c.CreditDeposits((deposit,)))

    def open_round(
        self, *creators: str, name: str = "r", length_s: int = 600, rates: Parameters = RATES
    ) -> RoundView:
        """A round with one meme per creator, named "m-<creator>", whose titles are issued if need be."""
        for creator in creators:
            self.do(c.IssueTitle(f"m-{creator}", creator))
        answer: RoundView = self.do(self.round_command(*creators, name=name, length_s=length_s, rates=rates))
        return answer

    def round_command(
        self, *creators: str, name: str = "r", length_s: int = 600, rates: Parameters = RATES
    ) -> c.OpenRound:
        """The command that opens it now."""
        entries = tuple(c.Entry(f"m-{creator}", creator, 900_000) for creator in creators)
        return c.OpenRound(uid(name), rates, self.now_ns, self.now_ns + length_s * NS_PER_S, entries)

    def open_session(self, name: str, viewer: str, meme: str, budget: int = 3600) -> Any:
        """A session that begins now."""
        return self.do(c.OpenSession(uid(name), viewer, meme, budget))

    def report_command(self, *lines: tuple[str, int]) -> c.ReportSeconds:
        """The command that reports these sessions and their seconds all told."""
        keys = tuple(self.meter_key(uid(name)) for name, _ in lines)
        return c.ReportSeconds(keys, tuple(seconds for _, seconds in lines))

    def meter_key(self, session_id: str) -> int:
        """What reports name the session by; one that nobody has for an unknown one."""
        session = self.machine.meter.by_id.get(session_id)
        return 0 if session is None else session.key

    def report(self, *lines: tuple[str, int], after_s: float = 0) -> list[Receipt]:
        """What became of each line of a report."""
        return self.receipts(self.report_command(*lines), after_s=after_s)

    def receipts(self, command: c.ReportSeconds, *, after_s: float = 0) -> list[Receipt]:
        """One receipt for each line, also for those of which the ledger says only what they burned."""
        report: Report = self.do(command, after_s=after_s)
        told = {receipt.line: receipt for receipt in report.receipts}
        lines = zip(command.meter_keys, command.seconds, report.burned_sats, strict=True)
        receipts = [
            told.get(line) or Receipt(line, key, "", seconds, burned, StopReason.RUNNING, Reason.OK)
            for line, (key, seconds, burned) in enumerate(lines)
        ]
        assert [receipt.burned_sats for receipt in receipts] == report.burned_sats
        return receipts

    def watch(self, name: str, viewer: str, meme: str, seconds: int) -> None:
        """A whole viewing, reported each second; the session stays open."""
        self.open_session(name, viewer, meme)
        for second in range(1, seconds + 1):
            self.report((name, second), after_s=1)

    def account(self, name: str, asset: str = "sat") -> AccountView:
        """The account as it stands."""
        books = self.machine.books
        number = books.find(name, asset)
        return AccountView(name, asset, 0, 0, 0) if number is None else view_account(books, number)

    def balance(self, name: str) -> int:
        """Its balance."""
        return self.account(name).balance

    def accounts(self) -> dict[tuple[str, str], AccountView]:
        """All accounts that hold, keep back or owe something, by name and asset."""
        books = self.machine.books
        accounts = enumerate(zip(books.names, books.assets, strict=True))
        views = {key: view_account(books, number) for number, key in accounts}
        return {key: view for key, view in views.items() if view.balance or view.held or view.debt}

    def session(self, name: str) -> SessionView:
        """The session as it stands."""
        return view_session(self.machine.meter.get(uid(name)))

    def round(self, name: str = "r") -> RoundView:
        """The round as it stands."""
        return self.round_of(uid(name))

    def round_of(self, round_id: str) -> RoundView:
        """The same by its id."""
        return view_round(self.machine.rounds.get(round_id))

    def owner(self, meme: str) -> str:
        """Who owns it."""
        return self.machine.titles.get(meme).owner_id

    def lock(self, name: str = "r") -> RoundView:
        """Locks the round."""
        answer: RoundView = self.do(c.LockRound(uid(name)))
        return answer

    def distribute(self, ranking: Sequence[str], name: str = "r") -> RoundView:
        """Pays the pool."""
        answer: RoundView = self.do(c.DistributePool(uid(name), tuple(ranking)))
        return answer
