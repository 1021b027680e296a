"""The meter: what viewers burn, second by second.

Second i of a session (from 0) lies at opened_at + i seconds and is a full second when it has ended. Reports
tell the seconds of a session all told, so a repeated or reordered report changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mesh.ids import made_ns
from services.ledger.domain.books import Books, derived_id, user_account
from services.ledger.domain.commands import OpenSession, Reign
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.rounds import MemeBook, Round, Rounds, RoundState
from services.ledger.domain.sessions import (
    KEYS,
    NS_PER_S,
    UNSCORED,
    Receipt,
    Report,
    Session,
    SessionView,
    StopReason,
    key_of,
    view_session,
)
from services.ledger.domain.window import Window

# Sessions of one viewer in one round: even those that cost nothing are kept in memory.
SESSIONS_MAX = 1_000
# Sessions that end by silence in one go; when a gateway is lost, the others follow in the next records.
SILENT_MAX = 5_000


class Meter:
    """The sessions of the rounds that are remembered."""

    def __init__(self, books: Books, rounds: Rounds, window: Window) -> None:
        self._books = books
        self._rounds = rounds
        self._window = window
        self.silence_ns = 10 * NS_PER_S
        self.reign_ns = 0
        self.by_id: dict[str, Session] = {}
        self.by_key: dict[int, Session] = {}
        # In the order they were opened: those of forgotten rounds that are not in the history yet, and those
        # of remembered rounds. Numbers begin at 1.
        self.leaving: list[SessionView] = []
        self.kept: list[Session] = []
        self.sessions_made = 0
        self.running: dict[tuple[str, str], Session] = {}
        # (time, session): when to look whether it fell silent.
        self.silences: list[tuple[int, str]] = []
        # Since the last commit: sessions opened or ended. Since the last tally event: memes with new seconds.
        self.changed: dict[str, Session] = {}
        # Memes that took something in the report under way.
        self._accruing: list[MemeBook] = []
        self.dirty: dict[str, MemeBook] = {}

    def begin(self, reign: Reign) -> None:
        """Takes the settings of a new leader.

        When to look at whom is found anew: a shorter silence may be over before it would be looked at, and a
        machine from an image has no older looks to come.
        """
        self.silence_ns = reign.session_silence_s * NS_PER_S
        self.reign_ns = self._books.now_ns
        due_ns = self.reign_ns + self.silence_ns
        self.silences = [(due_ns, session.command.session_id) for session in self.running.values()]
        heapq.heapify(self.silences)

    def open(self, command: OpenSession) -> Session:
        """Holds the budget and starts to meter. A repeat answers the session as it stands."""
        known = self.by_id.get(command.session_id)
        if known is not None:
            if known.command != command:
                raise Refused(Reason.ID_REUSED, "the session was opened with another body")
            return known
        session_id = command.session_id
        if not self._window.has(session_id) or made_ns(session_id) < self._rounds.memory_begins_ns:
            raise Refused(Reason.ID_OUT_OF_TIME, "the session's id was not made now; take a new one")
        in_round, book = self._entry(command.meme_id)
        if (command.viewer_id, command.meme_id) in self.running:
            raise Refused(Reason.SESSION_OVERLAP, "the viewer already pays for a running stream of this meme")
        count = in_round.sessions_of.get(command.viewer_id, 0)
        if count >= SESSIONS_MAX:
            raise Refused(Reason.TOO_MANY_SESSIONS, "the viewer has opened as many as a round takes")
        account = self._hold(command)
        self.sessions_made += 1
        session = Session(
            command, in_round, account=account, at_ns=self._books.now_ns, number=self.sessions_made
        )
        newest = self._books.newest_session
        session.before, newest[account] = newest[account], session.number
        self.kept.append(session)
        self.changed[command.session_id] = session
        self.know(session, key_of(command.session_id))
        self.running[command.viewer_id, command.meme_id] = session
        in_round.know_session(command.session_id, command.viewer_id)
        book.running += 1
        self.dirty[command.meme_id] = book
        heapq.heappush(self.silences, (self._books.now_ns + self.silence_ns, command.session_id))
        return session

    def close(self, session_id: str, viewer_id: str) -> Session:
        """Ends a session of this viewer. One that has ended is answered as it stands."""
        session = self.get(session_id)
        if session.command.viewer_id != viewer_id:
            raise Refused(Reason.SESSION_NOT_FOUND, "no session has this id", session_id=session_id)
        self.end(session, StopReason.CLOSED)
        return session

    def get(self, session_id: str) -> Session:
        """The session. Raises SESSION_NOT_FOUND."""
        session = self.by_id.get(session_id)
        if session is None:
            raise Refused(Reason.SESSION_NOT_FOUND, "no session has this id", session_id=session_id)
        return session

    def know(self, session: Session, key: int) -> None:
        """Makes a session known by id and by this key, or the next that is free."""
        while key in self.by_key:
            key = (key + 1) % KEYS
        session.key = key
        self.by_id[session.command.session_id] = self.by_key[key] = session

    def forget(self, of: Round) -> None:
        """Forgets the sessions of the oldest round; they wait for the history."""
        for session_id in of.session_ids:
            del self.by_key[self.by_id.pop(session_id).key]
        count = len(of.session_ids)
        self.leaving += [view_session(session) for session in self.kept[:count]]
        del self.kept[:count]

    @property
    def first_kept(self) -> int:
        """Number of the oldest session that is not in the history yet."""
        return self.sessions_made - len(self.kept) - len(self.leaving) + 1

    def drop_sessions(self, last: int) -> None:
        """Drops those that wait for the history up to this number: they are there."""
        del self.leaving[: max(0, last - self.first_kept + 1)]

    def view(self, number: int) -> SessionView:
        """The session of this number, one that is not in the history yet."""
        place = number - self.first_kept
        if place < len(self.leaving):
            return self.leaving[place]
        return view_session(self.kept[place - len(self.leaving)])

    def report(self, meter_keys: Sequence[int], seconds: Sequence[int]) -> Report:
        """Counts new seconds, pays for them, and shares what they brought."""
        by_key, now_ns, accruing = self.by_key, self._books.now_ns, self._accruing
        held, balance = self._books.held, self._books.balance
        burned, receipts = list[int](), list[Receipt]()
        for line, (key, total) in enumerate(zip(meter_keys, seconds, strict=True)):
            session = by_key.get(key)
            if session is None:
                burned.append(0)
                receipts.append(Receipt(line, key, "", 0, 0, StopReason.RUNNING, Reason.SESSION_NOT_FOUND))
                continue
            # The hot path, `_burn` without a call: it runs, pays already and goes on, under one owner.
            before = session.seconds
            if before < total < session.plain_below_s:
                new, account, book = total - before, session.account, session.book
                opened_ns, score_left_s = session.opened_ns, session.score_left_s
                scores = account != book.owner.account
                if (
                    opened_ns + total * NS_PER_S <= now_ns
                    and book.since_ns <= opened_ns + before * NS_PER_S
                    and (new <= score_left_s or not scores)
                ):
                    session.seconds, session.heard_ns = total, now_ns
                    sats = new * session.price
                    held[account] -= sats
                    balance[account] -= sats
                    book.fresh_s += new
                    if scores:
                        session.score_left_s = score_left_s - new
                        book.fresh_scored_s += new
                    if not book.accrues:
                        book.accrues = True
                        accruing.append(book)
                    burned.append(total * session.price)
                    continue
            reason = self._count(session, total)
            if reason or session.stop:
                receipts.append(_receipt(line, session, reason))
            burned.append(session.burned)
        self._accrue()
        return Report(burned, receipts)

    def _accrue(self) -> None:
        """Shares what memes took in the report."""
        for book in self._accruing:
            self._books.balance[book.takings_account] += book.take(
                book.owner, book.fresh_s, book.fresh_scored_s
            )
            book.accrues, book.fresh_s, book.fresh_scored_s = False, 0, 0
            self._rounds.accrue(book)
            self.dirty[book.entry.meme_id] = book
        self._accruing.clear()

    def end(self, session: Session, stop: StopReason) -> None:
        """Ends a running session: releases what is left of its hold and puts what it burned on record."""
        if session.stop is not StopReason.RUNNING:
            return
        session.stop, session.closed_ns, session.plain_below_s = stop, self._books.now_ns, 0
        command, books = session.command, self._books
        if session.score_left_s != UNSCORED:
            most = session.round.rates.scored_seconds_max
            session.book.viewers[command.viewer_id] = most - session.score_left_s
        del self.running[command.viewer_id, command.meme_id]
        session.book.running -= 1
        self.dirty[command.meme_id] = session.book
        self.changed[command.session_id] = session
        books.held[session.account] -= command.budget_sats - session.burned
        books.touched.add(session.account)
        if session.burned:
            memo = f"view:{command.session_id}"
            takings = session.book.takings_account
            books.record(derived_id(memo), session.account, takings, session.burned, memo)
        if session.account in books.debt:
            books.settle_debt(session.account)

    def end_all(self, of: Round, stop: StopReason) -> None:
        """Ends the round's running sessions."""
        for session in [session for session in self.running.values() if session.round is of]:
            self.end(session, stop)

    def close_silent(self) -> None:
        """Ends sessions that nobody reported for the stated silence.

        Behind the lock they wait for LockRound: what lies before it may still be reported in the grace.
        """
        silent: list[tuple[int, int, Session]] = []
        while self.silences and self.silences[0][0] <= self._books.now_ns:
            _, session_id = heapq.heappop(self.silences)
            session = self.by_id.get(session_id)
            if session is None or session.stop is not StopReason.RUNNING:
                continue
            due_ns = max(session.heard_ns, self.reign_ns) + self.silence_ns
            if due_ns >= session.round.command.locks_ns:
                continue
            if due_ns <= self._books.now_ns:
                silent.append((due_ns, session.number, session))
            else:
                heapq.heappush(self.silences, (due_ns, session_id))
        # In an order that does not depend on when each was looked at before: a machine from an image has not.
        silent.sort(key=lambda one: one[:2])
        for _, _, session in silent[:SILENT_MAX]:
            self.end(session, StopReason.SILENCE)
        for due_ns, _, session in silent[SILENT_MAX:]:
            heapq.heappush(self.silences, (due_ns, session.command.session_id))

    def _entry(self, meme_id: str) -> tuple[Round, MemeBook]:
        current = self._rounds.current
        if (
            current is None
            or current.state is not RoundState.OPEN
            or not current.command.starts_ns <= self._books.now_ns < current.command.locks_ns
        ):
            raise Refused(Reason.ROUND_NOT_ACTIVE, "no round is open for viewing")
        book = current.memes.get(meme_id)
        if book is None:
            raise Refused(Reason.NOT_AN_ENTRY, "the meme does not play in this round", meme_id=meme_id)
        return current, book

    def _hold(self, command: OpenSession) -> int:
        books, name = self._books, user_account(command.viewer_id)
        account = books.find(name)
        if account is not None and account in books.debt:
            raise Refused(Reason.ACCOUNT_IN_DEBT, "the viewer owes the ledger", debt_sats=books.debt[account])
        available = 0 if account is None else books.available(account)
        if account is None or available < command.budget_sats:
            raise Refused(
                Reason.INSUFFICIENT_FUNDS,
                "the budget is more than the viewer can spend",
                account=name,
                available=available,
                needed=command.budget_sats,
            )
        books.held[account] += command.budget_sats
        books.touched.add(account)
        return account

    def _count(self, session: Session, seconds: int) -> Reason:
        if session.stop is not StopReason.RUNNING:
            if seconds <= session.seconds or (
                session.seconds == session.limit_s and session.stop is session.limit_stop
            ):
                return Reason.OK
            return Reason.GRACE_OVER if session.stop is StopReason.ROUND_LOCKED else Reason.SESSION_CLOSED
        if seconds * NS_PER_S > self._books.now_ns - session.opened_ns:
            return Reason.SECOND_OUT_OF_RANGE
        session.heard_ns = self._books.now_ns
        counted = min(seconds, session.limit_s)
        if counted >= max(session.seconds + 1, session.round.rates.free_below_s):
            self._burn(session, counted)
        session.seconds = max(session.seconds, counted)
        if seconds >= session.limit_s:
            self.end(session, session.limit_stop)
        return Reason.OK

    def _burn(self, session: Session, seconds: int) -> None:
        """Moves what the new paid seconds cost from the viewer's hold to the meme's takings.

        What the viewer may spend does not change by it, so nobody is told before the session ends.
        """
        book, balance, account = session.book, self._books.balance, session.account
        first = session.paid_seconds
        session.seconds, session.plain_below_s = seconds, session.limit_s
        sats = (seconds - first) * session.price
        self._books.held[account] -= sats
        balance[account] -= sats
        balance[book.takings_account] += sats
        if not book.accrues:
            book.accrues = True
            self._accruing.append(book)
        if first == 0 and (book.first_view_ns == 0 or session.opened_ns < book.first_view_ns):
            book.first_view_ns = session.opened_ns
        for owner_id, count in _by_tenure(book.tenures, session.opened_ns, first, seconds):
            book.take(book.owners[owner_id], count, _score(session, owner_id, count))


def _score(session: Session, owner_id: str, seconds: int) -> int:
    """How many of the seconds count for the meme's score; its creator's and owner's own do not."""
    book, viewer_id, most = session.book, session.command.viewer_id, session.round.rates.scored_seconds_max
    if viewer_id in (owner_id, book.entry.creator_id) or most == 0:
        return 0
    if session.score_left_s == UNSCORED:
        scored = book.viewers.get(viewer_id)
        if scored is None:
            scored = book.viewers[viewer_id] = 0
            book.viewer_count += 1
        session.score_left_s = most - scored
    scored = min(seconds, session.score_left_s)
    session.score_left_s -= scored
    return scored


def _receipt(line: int, session: Session, reason: Reason) -> Receipt:
    return Receipt(
        line, session.key, session.command.session_id, session.seconds, session.burned, session.stop, reason
    )


def _by_tenure(tenures: list[tuple[int, str]], opened_ns: int, first: int, end: int) -> list[tuple[str, int]]:
    """How many of the seconds first..end-1, which lie at opened + i, belong to each tenure."""
    parts = []
    for place, (_, owner_id) in enumerate(tenures):
        last = end
        if place + 1 < len(tenures):
            # Seconds that begin before the next tenure: the count of i with opened + i < next.
            last = min(end, max(first, -((opened_ns - tenures[place + 1][0]) // NS_PER_S)))
        if last > first:
            parts.append((owner_id, last - first))
            first = last
    return parts
