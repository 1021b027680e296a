"""The state machine: the only way to change the ledger; same commands and times, same ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from services.ledger.domain import commands as c
from services.ledger.domain.answers import Answers, Result
from services.ledger.domain.books import Books
from services.ledger.domain.deposits import Deposits, Reversal
from services.ledger.domain.meter import Meter
from services.ledger.domain.pages import Written
from services.ledger.domain.reasons import Refused
from services.ledger.domain.rounds import Rounds, RoundState, require
from services.ledger.domain.sessions import Report, SessionView, StopReason, view_session
from services.ledger.domain.titles import Title, Titles
from services.ledger.domain.transfers import Transfers
from services.ledger.domain.views import (
    Changes,
    RoundView,
    Tally,
    tally_of,
    touched,
    view_round,
)
from services.ledger.domain.window import NS_PER_DAY, Window

NS_PER_S = 1_000_000_000
# Postings, accounts and sessions that are told of one record: about 5 MB. A full batch makes half of it.
CHANGES_MAX = 30_000
# Above so many sessions in memory commands that look at all of a round's take long: 50,000 cost a second.
SESSIONS_LONG = 2_000
_OF_ROUNDS = (c.OpenRound, c.LockRound, c.VoidRound)

Answer = None | Title | Reversal | RoundView | SessionView | list[Result] | Report


class Machine:
    """The whole ledger in memory. `advance` moves time, `apply` a command; nothing else changes it."""

    def __init__(self) -> None:
        self.window = Window()
        self.books = Books()
        self.titles = Titles(self.books)
        self.rounds = Rounds(self.books, self.titles)
        self.meter = Meter(self.books, self.rounds, self.window)
        self.answers = Answers(self.window)
        self.transfers = Transfers(self.books, self.answers, self._title_moved)
        self.holds = self.transfers.holds
        self.deposits = Deposits(self.books)
        self.now_ns = 0
        # Hash over all answers up to the last `seal`, and what was answered since.
        self.result_hash = b""
        self._trail = bytearray()
        self._told = 0
        self._tally_second = 0
        # Each takes the command it stands under; no type says that of a dictionary.
        self._apply_to: dict[type, Callable[[Any], Answer]] = {
            c.CreateTransfers: self._create_transfers,
            c.PostTransfers: self._post_transfers,
            c.IssueTitle: self._issue_title,
            c.CreditDeposits: self._credit_deposits,
            c.ReverseDeposit: self._reverse_deposit,
            c.OpenRound: self._open_round,
            c.LockRound: self._lock_round,
            c.DistributePool: self._distribute_pool,
            c.VoidRound: self._void_round,
            c.OpenSession: self._open_session,
            c.CloseSession: self._close_session,
            c.ReportSeconds: self._report_seconds,
        }

    def advance(self, at_ns: int, reign: c.Reign | None = None) -> None:
        """Lets time pass: holds expire, silent sessions end, what lies behind the horizon is forgotten.

        Time never goes back. With a new leader silence is counted afresh: nobody could report while there was
        none.
        """
        self.now_ns = self.books.now_ns = max(self.now_ns, at_ns)
        if reign is not None:
            self.meter.begin(reign)
            self.window.horizon_ns = reign.horizon_days * NS_PER_DAY
        self.holds.expire()
        self.meter.close_silent()
        if self.window.move(self.now_ns):
            self._forget()

    def apply(self, command: c.Command) -> Answer:
        """Carries out a command at the time of the last `advance`. Raises Refused; then nothing changed."""
        try:
            answer = self._apply_to[type(command)](command)
        except Refused as refusal:
            self._trail.append(refusal.number)
            raise
        if isinstance(answer, list):
            self._trail += bytes([result.reason for result in answer])
        elif isinstance(answer, Report):
            self._trail += b"".join(bytes((receipt.stop, receipt.reason)) for receipt in answer.receipts)
        else:
            self._trail.append(0)
        return answer

    def takes_long(self, commands: Iterable[c.Command]) -> bool:
        """Whether one of these ends, undoes or forgets a round of many sessions."""
        if len(self.meter.kept) <= SESSIONS_LONG:
            return False
        return any(isinstance(command, _OF_ROUNDS) for command in commands)

    def seal(self) -> bytes:
        """Ends a record: a hash over all answers and postings so far, which differs when a replay differs.

        Of plain postings it has only the number: what they hold is what was asked.
        """
        books, trail = self.books, self._trail
        for posting in books.unsealed:
            trail += repr(tuple(posting)).encode()
        trail += books.postings_made.to_bytes(8)
        self.result_hash = hashlib.sha256(self.result_hash + trail).digest()
        trail.clear()
        books.unsealed.clear()
        return self.result_hash

    def next_due_ns(self) -> int | None:
        """When something happens by the passing of time alone; None: never."""
        due = [heap[0][0] for heap in (self.holds.expiries, self.meter.silences) if heap]
        if self.meter.dirty:
            due.append((self._tally_second + 1) * NS_PER_S)
        return min(due, default=None)

    def take_changes(self) -> Changes:
        """What changed since the last call. Tallies come at most once a second."""
        books = self.books
        new = books.postings_made - self._told
        if new + len(books.touched) + len(self.meter.changed) > CHANGES_MAX:
            first = self._told + 1
            self.forget_changes()
            return Changes(self.now_ns, books, (), first, (), (), "", (), (), whole=False)
        postings = books.postings[-new:] if new else []
        dirty, second = self.meter.dirty, self.now_ns // NS_PER_S
        tallies: tuple[Tally, ...] = ()
        if dirty and second > self._tally_second:
            tallies = tuple(tally_of(dirty[meme_id]) for meme_id in sorted(dirty))
            self._tally_second = second
        of = self.rounds.latest()
        changes = Changes(
            at_ns=self.now_ns,
            books=books,
            postings=postings,
            first_posting=self._told + 1,
            accounts=touched(books, postings),
            tallies=tallies,
            round_id=of.id if of is not None and tallies else "",
            titles=tuple(self.titles.changed.values()),
            sessions=tuple(view_session(session) for session in self.meter.changed.values()),
        )
        if tallies:
            dirty.clear()
        self.forget_changes()
        return changes

    def forget_changes(self) -> None:
        """As if what changed had been told."""
        self._told = self.books.postings_made
        self.books.touched.clear()
        self.titles.changed.clear()
        self.meter.changed.clear()

    def trim(self, written: Written, *, most: int = 2**63) -> bool:
        """Drops from memory what is in the history; no rule looks at it. Whether more is left.

        Changes that were not taken yet stay.
        """
        books, meter = self.books, self.meter
        postings = min(written.postings, self._told)
        sessions = min(written.sessions, meter.first_kept + len(meter.leaving) - 1)
        books.drop_postings(min(postings, books.first_kept - 1 + most))
        meter.drop_sessions(min(sessions, meter.first_kept - 1 + most))
        self.rounds.drop_rounds(written.last_round)
        return books.first_kept <= postings or meter.first_kept <= sessions

    def _forget(self) -> None:
        before_ns = self.now_ns - self.window.horizon_ns
        self.answers.forget()
        self.holds.forget(before_ns)
        self.deposits.forget(before_ns)

    def _title_moved(self, meme_id: str, owner_id: str) -> None:
        self.titles.moved(meme_id, owner_id)
        self.rounds.owner_changed(meme_id)

    def _create_transfers(self, command: c.CreateTransfers) -> list[Result]:
        return self.transfers.create(command.caller, command.transfers)

    def _post_transfers(self, command: c.PostTransfers) -> list[Result]:
        return self.transfers.post(command.caller, command.columns)

    def _issue_title(self, command: c.IssueTitle) -> Title:
        return self.titles.issue(command.meme_id, command.creator_id)

    def _credit_deposits(self, command: c.CreditDeposits) -> None:
        self.deposits.credit(command.deposits)

    def _reverse_deposit(self, command: c.ReverseDeposit) -> Reversal:
        return self.deposits.reverse(command)

    def _open_round(self, command: c.OpenRound) -> RoundView:
        if command.round_id not in self.rounds.by_id:
            # What was not told of the round before is in its final tally.
            self.meter.dirty.clear()
        opened = self.rounds.open(command)
        for forgotten in self.rounds.forget():
            self.meter.forget(forgotten)
        return view_round(opened)

    def _lock_round(self, command: c.LockRound) -> RoundView:
        locked = self.rounds.get(command.round_id)
        require(locked, RoundState.OPEN, RoundState.LOCKED, RoundState.DISTRIBUTED)
        if locked.state is RoundState.OPEN:
            self.meter.end_all(locked, StopReason.ROUND_LOCKED)
            self.rounds.lock(locked)
        return view_round(locked)

    def _distribute_pool(self, command: c.DistributePool) -> RoundView:
        paid = self.rounds.get(command.round_id)
        self.rounds.distribute(paid, command.ranking)
        return view_round(paid)

    def _void_round(self, command: c.VoidRound) -> RoundView:
        voided = self.rounds.get(command.round_id)
        require(voided, RoundState.OPEN, RoundState.LOCKED, RoundState.VOIDED)
        if voided.state is not RoundState.VOIDED:
            self.meter.end_all(voided, StopReason.ROUND_VOIDED)
            sessions = [self.meter.by_id[session_id] for session_id in voided.session_ids]
            viewings = [
                (session.command.session_id, session.account, session.book.takings_account, session.burned)
                for session in sessions
            ]
            self.rounds.void(voided, viewings)
        return view_round(voided)

    def _open_session(self, command: c.OpenSession) -> SessionView:
        return view_session(self.meter.open(command))

    def _close_session(self, command: c.CloseSession) -> SessionView:
        return view_session(self.meter.close(command.session_id, command.viewer_id))

    def _report_seconds(self, command: c.ReportSeconds) -> Report:
        return self.meter.report(command.meter_keys, command.seconds)
