"""The ledger and the slow one side by side: every command goes to both, and all that shows is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.ledger.app.replay import apply_all
from services.ledger.domain import audit
from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.shares import Parameters
from services.ledger.domain.views import RoundView
from tests.ledger.model import Outcome, Play, balances, pool_sats, split
from tests.ledger.slow import Reasons, SlowLedger
from tests.ledger.world import NS_PER_S, RATES, START_NS, World, txid_of, uid


class Twin:
    """Commands by name, as in World. With `each_step` everything is compared after every command."""

    def __init__(self, *, silence_s: int = 10, each_step: bool = True) -> None:
        self.silence_s = silence_s
        self.each_step = each_step
        self.world = World(checked=False, silence_s=silence_s)
        self.slow = SlowLedger(START_NS, silence_s)
        # What a journal would hold; None: only time passed.
        self.done: list[tuple[int, c.Command | None]] = []
        # Those of them that were not refused. (Transfers have results of their own.)
        self.accepted: list[c.Command] = []
        self.sessions: list[str] = []

    # Commands.

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.wait(seconds)
        self.slow.advance(self.world.now_ns)
        self.done.append((self.world.now_ns, None))
        self._step()

    def do(self, command: c.Command) -> Any:
        """Gives it to both. Answers what the ledger answered, or the reason why not."""
        self.done.append((self.world.now_ns, command))
        if isinstance(command, c.CreateTransfers):
            self.accepted.append(command)  # refused or not, each transfer keeps its answer
            return self._transfers(command)
        expected = self.slow.apply(command)
        answer, reasons = self._ask(command)
        assert reasons <= expected, f"{command}: {reasons}, expected {expected}"
        assert reasons or not expected, f"{command}: was done, expected {expected}"
        if not reasons:
            self.accepted.append(command)
        self._step()
        return answer

    def transfer(self, *transfers: Transfer, caller: str = "market") -> list[Reason]:
        """Reasons of the results."""
        answer: list[Reason] = self.do(c.CreateTransfers(caller, transfers))
        return answer

    def deposit(self, name: str, user: str, sats: int, block: str = "b") -> None:
        """Coins come in."""
        self.do(c.CreditDeposits((c.Deposit(uid(name), f"user:{user}", sats, txid_of(name), 0, block * 64),)))

    def reverse(self, name: str, deposit: str) -> None:
        """The chain undoes them."""
        answer = self.do(c.ReverseDeposit(uid(name), uid(deposit), "orphaned"))
        if not isinstance(answer, Reason):
            assert (answer.taken_sats, answer.debt_sats) == self.slow.reversals[uid(name)][1:]

    def sell(self, name: str, meme: str, buyer: str, price: int) -> list[Reason]:
        """The title of a meme, from whoever owns it, for a price with a fee."""
        seller = f"user:{self.slow.owners[meme][-1][1]}"
        return self.transfer(
            Transfer(uid(f"{name}:price"), f"user:{buyer}", seller, price, linked=True),
            Transfer(uid(f"{name}:fee"), seller, "platform:fee", max(1, price // 50), linked=True),
            Transfer(uid(f"{name}:title"), seller, f"user:{buyer}", 1, asset=f"title:{meme}"),
        )

    def give(self, name: str, meme: str, to: str) -> list[Reason]:
        """The title of a meme for nothing."""
        owner = f"user:{self.slow.owners[meme][-1][1]}"
        return self.transfer(Transfer(uid(name), owner, f"user:{to}", 1, asset=f"title:{meme}"))

    def open_round(
        self,
        name: str,
        entries: Sequence[tuple[str, str, int]],
        *,
        length_s: int = 600,
        rates: Parameters = RATES,
    ) -> None:
        """Of (meme, creator, quality in ppm), whose titles are issued if need be."""
        for meme, creator, _ in entries:
            self.do(c.IssueTitle(meme, creator))
        ends_ns = self.world.now_ns + length_s * NS_PER_S
        self.do(
            c.OpenRound(
                uid(name), rates, self.world.now_ns, ends_ns, tuple(c.Entry(*entry) for entry in entries)
            )
        )

    def open_session(self, name: str, viewer: str, meme: str, budget: int) -> bool:
        """Whether it began."""
        began = not isinstance(self.do(c.OpenSession(uid(name), viewer, meme, budget)), Reason)
        if began:
            self.sessions.append(name)
        return began

    def close(self, name: str, viewer: str) -> None:
        """The viewer stops."""
        self.do(c.CloseSession(uid(name), viewer))

    def elapsed_s(self, name: str) -> int:
        """Full seconds since the session was opened."""
        return (self.world.now_ns - self.slow.sessions[uid(name)].viewing.opened_ns) // NS_PER_S

    def report(self, *lines: tuple[str, int]) -> None:
        """Seconds all told; every receipt is compared."""
        command = self.world.report_command(*lines)
        self.done.append((self.world.now_ns, command))
        receipts = self.world.receipts(command)
        for (name, seconds), receipt in zip(lines, receipts, strict=True):
            assert receipt.reason == self.slow.report(uid(name), seconds), (name, seconds)
        self._step()

    def report_all(self, names: Sequence[str] | None = None, back: int = 0) -> None:
        """All that these sessions have run, or less."""
        chosen = self.sessions if names is None else names
        self.report(*((name, max(0, self.elapsed_s(name) - back)) for name in chosen))

    def lock(self, name: str) -> None:
        """The end of metering."""
        self.do(c.LockRound(uid(name)))

    def distribute(self, name: str) -> Any:
        """The pool, by the slow ledger's ranking."""
        ranking = self.slow.ranking(uid(name)) if uid(name) in self.slow.plays else ()
        return self.do(c.DistributePool(uid(name), ranking))

    def void(self, name: str) -> None:
        """Undoes it."""
        self.do(c.VoidRound(uid(name), "mistake"))

    def _ask(self, command: c.Command) -> tuple[Any, Reasons]:
        try:
            return self.world.do(command), set()
        except Refused as refusal:
            return refusal.number, {refusal.number}

    def _transfers(self, command: c.CreateTransfers) -> list[Reason]:
        batch = [transfer for transfer in command.transfers if isinstance(transfer, Transfer)]
        expected = self.slow.transfers(command.caller, batch)
        reasons = self.world.transfer(*batch, caller=command.caller)
        for transfer, reason, allowed in zip(batch, reasons, expected, strict=True):
            assert reason in allowed, f"{transfer}: {reason!r}, expected {allowed}"
        self.slow.tell(batch, reasons)
        self.accepted.append(command)
        self._step()
        return reasons

    # Comparison.

    def _step(self) -> None:
        if self.each_step:
            self.compare()

    def compare(self) -> None:
        """Every invariant, account, title, session and tally."""
        assert audit.problems(self.world.machine) == []
        shown = {key: (view.balance, view.held, view.debt) for key, view in self.world.accounts().items()}
        assert shown == self.slow.accounts()
        for meme, owners in self.slow.owners.items():
            assert self.world.owner(meme) == owners[-1][1]
        self.sessions = [name for name in self.sessions if uid(name) in self.slow.sessions]
        for name in self.sessions:
            view, session = self.world.session(name), self.slow.sessions[uid(name)]
            assert (view.seconds, view.burned_sats, view.stop) == (
                session.viewing.seconds, session.burned, session.stop,
            )  # fmt: skip
        if self.slow.current is not None:
            compare_tallies(self.world.round_of(self.slow.current.id), self.slow.current)

    def replay(self) -> None:
        """What was done, done again elsewhere, ends the same."""
        again = Machine()
        again.advance(START_NS, c.Reign(self.silence_s))
        for at_ns, command in self.done:
            again.advance(at_ns)
            if command is not None:
                apply_all(again, [command])
        assert audit.digest(again) == self.world.digest
        assert again.seal() == self.world.machine.seal()


def compare_tallies(view: RoundView, play: Play) -> None:
    """What the ledger shows of a round against what the model says of it."""
    for tally, film in zip(view.tallies, play.films, strict=True):
        takings, scored = film.takings(play.rates), film.scored(play.rates)
        fee, creator, owners, rest = split(takings, play.rates)
        assert (tally.takings, tally.fee, tally.creator, tally.owner, tally.pool) == (
            sum(takings.values()), fee, creator, sum(owners.values()), rest,
        )  # fmt: skip
        assert (tally.paid_seconds, tally.scored_seconds, tally.viewers, tally.first_view_ns) == (
            len(film.paid(play.rates)), sum(scored.values()), len(scored), film.first_view_ns(play.rates),
        )  # fmt: skip
    assert view.carried_in == play.carried_sats
    if play.outcome in (Outcome.OPEN, Outcome.LOCKED):
        assert view.pool == pool_sats(play)
    if play.outcome is Outcome.PAID:
        assert view.carried_out == balances(play)["pool:carried"] + play.carried_sats
