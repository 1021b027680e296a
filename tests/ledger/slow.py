"""A ledger that is slow and obvious: it keeps facts, and works balances out from them when asked.

Every command answers the set of reasons for which it may be refused; an empty set: it was accepted. What goes
before what among several reasons is promised nowhere, so any of them will do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.reasons import Reason
from services.ledger.domain.sessions import StopReason
from tests.ledger.model import NS_PER_S, Film, Outcome, Play, Viewing, balances, ranked

INT64 = range(-(2**63), 2**63)
SAT = "sat"
Account = tuple[str, str]
Reasons = set[Reason]
# Transfers that are linked; most stand alone.
Chain = list[Transfer]
COINS, COLD, CONTRA_DEBTS = ("chain:coins", SAT), ("chain:cold", SAT), ("debts", SAT)


@dataclass(slots=True)
class Hold:
    """An amount kept back, while it is open."""

    debit: Account
    credit: Account
    amount: int
    ends_ns: int
    open: bool = True


@dataclass(slots=True)
class Session:
    """A session and the viewing that it makes."""

    command: c.OpenSession
    play: Play
    viewing: Viewing
    limit_s: int
    limit_stop: StopReason
    heard_ns: int
    stop: StopReason = StopReason.RUNNING

    @property
    def burned(self) -> int:
        """Satoshis so far."""
        return self.viewing.sats(self.play.rates)


@dataclass(slots=True)
class Credited:
    """A deposit that was credited."""

    body: c.Deposit
    stands: bool = True


def is_guarded(account: Account) -> bool:
    """Whether it may not go below zero."""
    return account not in (COINS, COLD, CONTRA_DEBTS) and account[0] != "mint"


def may_move(caller: str, account: Account) -> bool:
    """The table of accounts in the ledger's README."""
    name, asset = account
    if name.startswith("user:"):
        return caller == "market" or (caller == "chain" and asset == SAT)
    return (caller, name, asset) in (
        ("market", "platform:fee", SAT), ("chain", "platform:float", SAT), ("chain", "chain:coins", SAT),
        ("chain", "chain:cold", SAT),
    )  # fmt: skip


def chains(batch: Sequence[Transfer]) -> list[Chain]:
    """What belongs together in a request; the last may be without an end."""
    found: list[Chain] = []
    linked = False
    for transfer in batch:
        if linked:
            found[-1].append(transfer)
        else:
            found.append([transfer])
        linked = transfer.linked
    return found


class SlowLedger:
    """The facts, and what follows from them."""

    def __init__(self, now_ns: int, silence_s: int) -> None:
        self.now_ns = now_ns
        self.silence_ns = silence_s * NS_PER_S
        self.moved: Counter[Account] = Counter()
        # By id: the transfer, all it was linked with, and what was told.
        self.told: dict[str, tuple[Transfer, Chain, Reason]] = {}
        self.holds: dict[str, Hold] = {}
        self.owners: dict[str, list[tuple[int, str]]] = {}
        self.deposits: list[Credited] = []
        # With what was taken and what became debt.
        self.reversals: dict[str, tuple[c.ReverseDeposit, int, int]] = {}
        self.plays: dict[str, Play] = {}
        self.opened: dict[str, c.OpenRound] = {}
        self.sessions: dict[str, Session] = {}
        # What the rounds made of balances, until something changes; final ones for good.
        self._of_rounds: Counter[str] | None = None
        self._closed: Counter[str] = Counter()

    def apply(self, command: c.Command) -> Reasons:
        """Takes a command; transfers and reports have methods of their own."""
        takers: dict[type, Callable[[Any], Reasons]] = {
            c.IssueTitle: lambda asked: self.issue(asked.meme_id, asked.creator_id),
            c.CreditDeposits: lambda asked: self.credit(asked.deposits),
            c.ReverseDeposit: self.reverse,
            c.OpenRound: self.open_round,
            c.LockRound: lambda asked: self.lock(asked.round_id),
            c.DistributePool: lambda asked: self.distribute(asked.round_id, asked.ranking),
            c.VoidRound: lambda asked: self.void(asked.round_id),
            c.OpenSession: self.open_session,
            c.CloseSession: self.close,
        }
        return takers[type(command)](command)

    # What follows from the facts.

    def _rounds(self) -> Counter[str]:
        if self._of_rounds is None:
            self._of_rounds = self._closed.copy()
            if self.current is not None:
                self._of_rounds.update(balances(self.current))
        return self._of_rounds

    @property
    def current(self) -> Play | None:
        """The round that is neither paid nor voided."""
        unfinished = [p for p in self.plays.values() if p.outcome in (Outcome.OPEN, Outcome.LOCKED)]
        return unfinished[0] if unfinished else None

    def net(self, account: Account) -> int:
        """All that it got less all that was taken from it, debts included."""
        name, asset = account
        return self.moved[account] + (self._rounds()[name] if asset == SAT else 0)

    def held(self, account: Account) -> int:
        """What is kept back of it."""
        holds = sum(hold.amount for hold in self.holds.values() if hold.open and hold.debit == account)
        return holds + sum(
            session.command.budget_sats - session.burned
            for session in self.sessions.values()
            if session.stop is StopReason.RUNNING and (f"user:{session.command.viewer_id}", SAT) == account
        )

    def debt(self, account: Account) -> int:
        """What is kept back although it is not there any more was taken from someone: that is owed."""
        return max(0, self.held(account) - self.net(account)) if is_guarded(account) else 0

    def balance(self, account: Account) -> int:
        """What shows on the account."""
        return self.net(account) + self.debt(account)

    def available(self, account: Account) -> int:
        """What may be spent."""
        return self.balance(account) - self.held(account)

    def accounts(self) -> dict[Account, tuple[int, int, int]]:
        """(balance, held, debt) of all that are not zero."""
        keys = {*self.moved, *((name, SAT) for name in self._rounds())} - {CONTRA_DEBTS}
        found = {key: (self.balance(key), self.held(key), self.debt(key)) for key in keys}
        found[CONTRA_DEBTS] = (-sum(debt for _, _, debt in found.values()), 0, 0)
        return {key: numbers for key, numbers in found.items() if any(numbers)}

    def _move(self, debit: Account, credit: Account, amount: int) -> None:
        self.moved[debit] -= amount
        self.moved[credit] += amount

    # Time.

    def advance(self, now_ns: int) -> None:
        """Holds end, silent sessions end."""
        self.now_ns = now_ns
        for hold in self.holds.values():
            hold.open = hold.open and not (0 < hold.ends_ns <= now_ns)
        for session in self.sessions.values():
            due_ns = session.heard_ns + self.silence_ns
            behind_lock = due_ns >= self.opened[session.play.id].locks_ns
            if session.stop is StopReason.RUNNING and due_ns <= now_ns and not behind_lock:
                session.stop = StopReason.SILENCE

    # Transfers.

    def transfers(self, caller: str, batch: Sequence[Transfer]) -> list[Reasons]:
        """For each the reasons it may be told; {OK} when it applies."""
        return [reasons for chain in chains(batch) for reasons in self._chain(caller, chain)]

    def tell(self, batch: Sequence[Transfer], reasons: Sequence[Reason]) -> None:
        """What the callers were told; the first answer stays."""
        linked = [(transfer, chain) for chain in chains(batch) for transfer in chain]
        for (transfer, chain), reason in zip(linked, reasons, strict=True):
            self.told.setdefault(transfer.id, (transfer, chain, reason))

    def _chain(self, caller: str, chain: Chain) -> list[Reasons]:
        if all(transfer.id in self.told for transfer in chain):
            return [self._again(transfer, chain) for transfer in chain]
        expected: list[Reasons] = [{Reason.LINKED_TRANSFER_FAILED} for _ in chain]
        ids = [transfer.id for transfer in chain]
        for place, id_ in enumerate(ids):
            if id_ in self.told or id_ in ids[:place]:
                expected[place] = {Reason.ID_REUSED}
                return expected
        if chain[-1].linked:
            expected[-1] = {Reason.LINKED_CHAIN_OPEN}
            return expected
        moved, holds = self.moved.copy(), {key: replace(hold) for key, hold in self.holds.items()}
        debits = {(transfer.debit_account, transfer.asset) for transfer in chain}
        blocked = {account for account in debits if self.debt(account)}
        for place, transfer in enumerate(chain):
            faults = self._faults(caller, transfer, blocked)
            if faults:
                self.moved, self.holds = moved, holds
                expected[place] = faults
                return expected
            self._make(transfer)
        for transfer in chain:
            self._follow_title(transfer)
        return [{Reason.OK} for _ in chain]

    def _again(self, transfer: Transfer, chain: Chain) -> Reasons:
        first, linked, reason = self.told[transfer.id]
        return {reason if (first, linked) == (transfer, chain) else Reason.ID_REUSED}

    def _faults(self, caller: str, transfer: Transfer, blocked: set[Account]) -> Reasons:
        if transfer.kind in (TransferKind.POST_HOLD, TransferKind.VOID_HOLD):
            return self._faults_of_end(caller, transfer)
        amount, asset = transfer.amount, transfer.asset
        debit, credit = (transfer.debit_account, asset), (transfer.credit_account, asset)
        known = asset == SAT or asset.removeprefix("title:") in self.owners
        guarded = is_guarded(debit)
        left = self.net(debit) - amount
        found = {
            Reason.AMOUNT_NOT_POSITIVE: amount < 1,
            Reason.SAME_ACCOUNT: debit == credit,
            Reason.ASSET_MISMATCH: not known,
            Reason.ACCOUNT_FORBIDDEN: not (may_move(caller, debit) and may_move(caller, credit))
            or (transfer.kind == TransferKind.HOLD and not guarded),
            Reason.ACCOUNT_IN_DEBT: debit in blocked,
            Reason.INSUFFICIENT_FUNDS: guarded and self.available(debit) < amount,
            Reason.OVERFLOW: (not guarded and left not in INT64)
            or self.balance(credit) + amount not in INT64,
        }
        return {reason for reason, holds in found.items() if holds}

    def _faults_of_end(self, caller: str, transfer: Transfer) -> Reasons:
        hold = self.holds.get(transfer.hold_id)
        if hold is None:
            return {Reason.HOLD_NOT_FOUND}
        posts = transfer.kind == TransferKind.POST_HOLD
        found = {
            Reason.ASSET_MISMATCH: transfer.asset not in ("", hold.debit[1]),
            Reason.ACCOUNT_FORBIDDEN: not (may_move(caller, hold.debit) and may_move(caller, hold.credit)),
            Reason.HOLD_CLOSED: not hold.open,
            Reason.AMOUNT_NOT_POSITIVE: posts and transfer.amount < 0,
            Reason.HOLD_EXCEEDED: posts and transfer.amount > hold.amount,
            Reason.OVERFLOW: posts
            and self.balance(hold.credit) + (transfer.amount or hold.amount) not in INT64,
        }
        return {reason for reason, holds in found.items() if holds}

    def _make(self, transfer: Transfer) -> None:
        debit, credit = (transfer.debit_account, transfer.asset), (transfer.credit_account, transfer.asset)
        if transfer.kind == TransferKind.POST:
            self._move(debit, credit, transfer.amount)
        elif transfer.kind == TransferKind.HOLD:
            lasts_ns = transfer.hold_expires_s * NS_PER_S
            ends_ns = self.now_ns + lasts_ns if lasts_ns else 0
            self.holds[transfer.id] = Hold(debit, credit, transfer.amount, ends_ns)
        else:
            hold = self.holds[transfer.hold_id]
            hold.open = False
            if transfer.kind == TransferKind.POST_HOLD:
                self._move(hold.debit, hold.credit, transfer.amount or hold.amount)

    def _follow_title(self, transfer: Transfer) -> None:
        credit = (transfer.credit_account, transfer.asset)
        if transfer.kind == TransferKind.POST_HOLD:
            credit = self.holds[transfer.hold_id].credit
        elif transfer.kind != TransferKind.POST:
            return
        if credit[1] != SAT:
            meme, owner = credit[1].removeprefix("title:"), credit[0].removeprefix("user:")
            self.owners[meme].append((self.now_ns, owner))
            self._of_rounds = None

    # Titles and deposits.

    def issue(self, meme: str, creator: str) -> Reasons:
        """A title comes to be."""
        if meme in self.owners:
            return set() if self.owners[meme][0][1] == creator else {Reason.TITLE_ALREADY_ISSUED}
        self.owners[meme] = [(self.now_ns, creator)]
        self._move(("mint", f"title:{meme}"), (f"user:{creator}", f"title:{meme}"), 1)
        return set()

    def credit(self, deposits: Sequence[c.Deposit]) -> Reasons:
        """All or none."""
        fresh: list[c.Deposit] = []
        for deposit in deposits:
            if deposit in fresh or any(past.body == deposit for past in self.deposits):
                continue
            standing = [past.body for past in self.deposits if past.stands] + fresh
            before = [past.body for past in self.deposits if past.body.id == deposit.id]
            if (
                any(other.id == deposit.id or _output(other) == _output(deposit) for other in standing)
                or any(other.block_hash == deposit.block_hash for other in before)
                or any(_output(other) != _output(deposit) for other in before)
            ):
                return {Reason.ID_REUSED}
            fresh.append(deposit)
        for deposit in fresh:
            if not deposit.account.startswith("user:") and deposit.account != "platform:float":
                return {Reason.ACCOUNT_FORBIDDEN}
        for deposit in fresh:
            self.deposits.append(Credited(deposit))
            self._move(COINS, (deposit.account, SAT), deposit.amount_sats)
        return set()

    def reverse(self, command: c.ReverseDeposit) -> Reasons:
        """The deposit is no more."""
        if command.id in self.reversals:
            return set() if self.reversals[command.id][0] == command else {Reason.ID_REUSED}
        standing = [d for d in self.deposits if d.stands and d.body.id == command.deposit_id]
        if not standing:
            return {Reason.DEPOSIT_NOT_FOUND}
        standing[0].stands = False
        body = standing[0].body
        taken = min(body.amount_sats, self.available((body.account, SAT)))
        self._move((body.account, SAT), COINS, body.amount_sats)
        self.reversals[command.id] = command, taken, body.amount_sats - taken
        return set()

    # Rounds.

    def open_round(self, command: c.OpenRound) -> Reasons:
        """A round begins with what the pool carried over."""
        if command.round_id in self.opened:
            return set() if self.opened[command.round_id] == command else {Reason.ID_REUSED}
        if self.current is not None:
            return {Reason.ROUND_OVERLAP}
        films = [
            Film(entry.meme_id, entry.creator_id, entry.quality_ppm, self.owners[entry.meme_id])
            for entry in command.entries
        ]
        carried = self.net(("pool:carried", SAT))
        self.plays[command.round_id] = Play(command.round_id, command.parameters, films, carried)
        self.opened[command.round_id] = command
        self._of_rounds = None
        self._forget()
        return set()

    def _forget(self) -> None:
        """Of rounds before the last three, and of their sessions, nothing is known any more."""
        remembered = list(self.opened)[-3:]
        self.opened = {round_id: self.opened[round_id] for round_id in remembered}
        self.sessions = {
            session_id: session
            for session_id, session in self.sessions.items()
            if session.play.id in remembered
        }

    def lock(self, round_id: str) -> Reasons:
        """No more seconds."""
        play = self.plays.get(round_id)
        if play is None:
            return {Reason.ROUND_NOT_FOUND}
        if play.outcome is Outcome.VOIDED:
            return {Reason.ROUND_VOIDED}
        if play.outcome is Outcome.OPEN:
            self._end_sessions(play, StopReason.ROUND_LOCKED)
            play.outcome = Outcome.LOCKED
            self._of_rounds = None
        return set()

    def ranking(self, round_id: str) -> tuple[str, ...]:
        """Memes, the best first."""
        play = self.plays[round_id]
        return tuple(film.meme for film in ranked(play.films, play.rates))

    def distribute(self, round_id: str, ranking: tuple[str, ...]) -> Reasons:
        """The pool is paid. The ledger is told the ranking, and knows only whom it must name."""
        play = self.plays.get(round_id)
        if play is None:
            return {Reason.ROUND_NOT_FOUND}
        if play.outcome is Outcome.PAID:
            return set() if ranking == self.ranking(round_id) else {Reason.ID_REUSED}
        if play.outcome is not Outcome.LOCKED:
            return {Reason.ROUND_VOIDED if play.outcome is Outcome.VOIDED else Reason.ROUND_NOT_ACTIVE}
        if sorted(ranking) != sorted(self.ranking(round_id)):
            return {Reason.RANKING_MISMATCH}
        self._finish(play, Outcome.PAID)
        return set()

    def void(self, round_id: str) -> Reasons:
        """All that was paid in it goes back."""
        play = self.plays.get(round_id)
        if play is None:
            return {Reason.ROUND_NOT_FOUND}
        if play.outcome is Outcome.PAID:
            return {Reason.ROUND_NOT_ACTIVE}
        if play.outcome is not Outcome.VOIDED:
            self._end_sessions(play, StopReason.ROUND_VOIDED)
            self._finish(play, Outcome.VOIDED)
        return set()

    def _end_sessions(self, play: Play, stop: StopReason) -> None:
        for session in self.sessions.values():
            if session.play is play and session.stop is StopReason.RUNNING:
                session.stop = stop

    def _finish(self, play: Play, outcome: Outcome) -> None:
        play.outcome = outcome
        self._closed.update(balances(play))
        self._of_rounds = None

    # Sessions.

    def open_session(self, command: c.OpenSession) -> Reasons:
        """A viewer begins to watch."""
        known = self.sessions.get(command.session_id)
        if known is not None:
            return set() if known.command == command else {Reason.ID_REUSED}
        play = self.current
        times = self.opened[play.id] if play is not None else None
        if play is None or times is None or play.outcome is not Outcome.OPEN or self.now_ns >= times.locks_ns:
            return {Reason.ROUND_NOT_ACTIVE}
        films = [film for film in play.films if film.meme == command.meme_id]
        if not films:
            return {Reason.NOT_AN_ENTRY}
        account = (f"user:{command.viewer_id}", SAT)
        found = {
            Reason.SESSION_OVERLAP: any(
                session.stop is StopReason.RUNNING
                and (session.command.viewer_id, session.command.meme_id)
                == (command.viewer_id, command.meme_id)
                for session in self.sessions.values()
            ),
            Reason.ACCOUNT_IN_DEBT: self.debt(account) > 0,
            Reason.INSUFFICIENT_FUNDS: self.available(account) < command.budget_sats,
        }
        faults = {reason for reason, holds in found.items() if holds}
        if not faults:
            self._begin(command, play, films[0], times.locks_ns)
        return faults

    def _begin(self, command: c.OpenSession, play: Play, film: Film, locks_ns: int) -> None:
        viewing = Viewing(command.viewer_id, self.now_ns)
        film.viewings.append(viewing)
        limits = [
            (command.budget_sats // play.rates.second_price_sats, StopReason.BUDGET_SPENT),
            (play.rates.session_max_s, StopReason.TIME_LIMIT),
            ((locks_ns - self.now_ns) // NS_PER_S, StopReason.ROUND_LOCKED),
        ]
        limit_s, stop = min(limits, key=lambda limit: limit[0])
        self.sessions[command.session_id] = Session(command, play, viewing, limit_s, stop, self.now_ns)

    def report(self, session_id: str, seconds: int) -> Reason:
        """So many seconds all told."""
        session = self.sessions.get(session_id)
        if session is None:
            return Reason.SESSION_NOT_FOUND
        viewing = session.viewing
        if session.stop is not StopReason.RUNNING:
            whole = viewing.seconds == session.limit_s and session.stop is session.limit_stop
            if seconds <= viewing.seconds or whole:
                return Reason.OK
            locked = session.stop is StopReason.ROUND_LOCKED
            return Reason.GRACE_OVER if locked else Reason.SESSION_CLOSED
        if viewing.opened_ns + seconds * NS_PER_S > self.now_ns:
            return Reason.SECOND_OUT_OF_RANGE
        session.heard_ns = self.now_ns
        viewing.seconds = max(viewing.seconds, min(seconds, session.limit_s))
        if seconds >= session.limit_s:
            session.stop = session.limit_stop
        self._of_rounds = None
        return Reason.OK

    def close(self, command: c.CloseSession) -> Reasons:
        """The viewer stops."""
        session = self.sessions.get(command.session_id)
        if session is None or session.command.viewer_id != command.viewer_id:
            return {Reason.SESSION_NOT_FOUND}
        if session.stop is StopReason.RUNNING:
            session.stop = StopReason.CLOSED
        return set()


def _output(deposit: c.Deposit) -> tuple[str, int, str, int]:
    """What the chain says of it, whatever the block."""
    return deposit.txid, deposit.vout, deposit.account, deposit.amount_sats
