"""Rounds: what each meme took, what was paid of it at once, and the pool at the end.

Instant shares are credited, and may be spent, the moment a second is reported: their accounts move with
every report, and the statement line follows when the share is settled (title moved, round locked or
voided). A void takes them back from where they are; what is gone by then becomes a recorded debt, exactly
as with a reversed deposit. One mechanism covers both, nobody's balance goes below zero in silence, and
"instant" means instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from mesh.ids import made_ns
from services.ledger.domain.books import FEE, POOL_CARRIED, Books, derived_id, user_account
from services.ledger.domain.commands import Entry, OpenRound
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.shares import BASIS_POINTS, Parameters, entitlement, pool_payouts
from services.ledger.domain.titles import Titles

ENTRIES_MAX = 100
ROUND_S_MAX = 86_400
# At most so far from now: behind one that begins in a far future no other could ever begin.
STARTS_WITHIN_NS = 26 * 3_600 * 10**9
# Rounds that the rules remember, the current one included. An id of a session carries its time, so that none
# of a forgotten round can come back into a later one.
KEPT = 3


class RoundState(IntEnum):
    """See satreel.ledger.v1.RoundState."""

    OPEN = 1
    LOCKED = 2
    DISTRIBUTED = 3
    VOIDED = 4


@dataclass(frozen=True, slots=True)
class Payout:
    """One payout of the pool."""

    rank: int
    meme_id: str
    user_id: str
    amount_sats: int
    transfer_id: str


class Share:
    """A part of a meme's takings that is paid as it accrues: to whom, how much, how much is on record."""

    __slots__ = ("account", "paid", "posted", "role", "takings")

    def __init__(self, role: str, account: int) -> None:
        self.role = role
        self.account = account
        self.takings = 0
        self.paid = 0
        self.posted = 0


class MemeBook:
    """What one meme took and earned in a round."""

    __slots__ = (
        "accrues", "creator", "entry", "fee", "first_view_ns", "fresh_s", "fresh_scored_s", "owner", "owners",
        "paid_seconds", "rates", "running", "scored_seconds", "since_ns", "takings", "takings_account",
        "tenures", "viewer_count", "viewers",
    )  # fmt: skip

    def __init__(
        self, entry: Entry, rates: Parameters, takings_account: int, fee: Share, creator: Share
    ) -> None:
        self.entry = entry
        self.rates = rates
        self.takings_account = takings_account
        self.takings = 0
        # Whether it took something in the report under way, and what is not counted yet: of now's owner.
        self.accrues = False
        self.fresh_s = self.fresh_scored_s = 0
        self.paid_seconds = 0
        self.fee = fee
        self.creator = creator
        self.owners: dict[str, Share] = {}
        # (since, owner): who owned it from when on during this round, oldest first.
        self.tenures: list[tuple[int, str]] = []
        # The last tenure again: the meter looks at it for every second.
        self.owner, self.since_ns = creator, 0
        self.scored_seconds = 0
        # Seconds of each viewer's ended sessions that scored (this goes when the round is forgotten), and how
        # many viewers there are, running ones included.
        self.viewers: dict[str, int] = {}
        self.viewer_count = 0
        self.first_view_ns = 0
        self.running = 0

    def begin_tenure(self, since_ns: int, owner_id: str, account: int) -> None:
        """Somebody owns the meme from now on."""
        self.tenures.append((since_ns, owner_id))
        if owner_id not in self.owners:
            self.owners[owner_id] = Share(f"owner:{owner_id}", account)
        self.owner, self.since_ns = self.owners[owner_id], since_ns

    def take(self, owner: Share, seconds: int, scored: int) -> int:
        """Counts paid seconds for whoever owned the meme in them; returns their satoshis."""
        sats = seconds * self.rates.second_price_sats
        self.paid_seconds += seconds
        self.scored_seconds += scored
        self.takings += sats
        owner.takings += sats
        return sats

    def has_score(self) -> bool:
        """Whether its score is above zero."""
        return self.scored_seconds * self.entry.quality_ppm > 0

    def shares(self) -> list[Share]:
        """All parts that are paid as they accrue."""
        return [self.fee, self.creator, *self.owners.values()]


class Round:
    """A round as the ledger knows it."""

    def __init__(self, command: OpenRound, account: int) -> None:
        self.command = command
        self.account = account
        self.state = RoundState.OPEN
        self.memes: dict[str, MemeBook] = {}
        self.carried_in_sats = 0
        self.pool_sats = 0
        self.carried_out_sats = 0
        self.refunded_sats = 0
        self.ranking: tuple[str, ...] = ()
        self.payouts: tuple[Payout, ...] = ()
        # Its sessions, and how many each viewer has opened.
        self.session_ids: list[str] = []
        self.sessions_of: dict[str, int] = {}

    def know_session(self, session_id: str, viewer_id: str) -> None:
        """Notes a session that was opened in it."""
        self.session_ids.append(session_id)
        self.sessions_of[viewer_id] = self.sessions_of.get(viewer_id, 0) + 1

    @property
    def id(self) -> str:
        """The round's id."""
        return self.command.round_id

    @property
    def rates(self) -> Parameters:
        """The rules stamped on it."""
        return self.command.parameters


class Rounds:
    """The newest rounds; at most one is not yet distributed or voided. Older ones stand in the history."""

    def __init__(self, books: Books, titles: Titles) -> None:
        self._books = books
        self._titles = titles
        self.by_id: dict[str, Round] = {}
        self.current: Round | None = None
        # Forgotten by the rules, and not in the history yet.
        self.leaving: list[Round] = []
        # Start of the oldest round that is remembered once one has been forgotten.
        self.memory_begins_ns = 0

    def get(self, round_id: str) -> Round:
        """The round. Raises ROUND_NOT_FOUND."""
        found = self.by_id.get(round_id)
        if found is None:
            raise Refused(Reason.ROUND_NOT_FOUND, "no round has this id", round_id=round_id)
        return found

    def latest(self) -> Round | None:
        """The round opened last."""
        return next(reversed(self.by_id.values()), None)

    def open(self, command: OpenRound) -> Round:
        """Opens a round with what the pool carried over. A repeat answers the round as it stands."""
        known = self.by_id.get(command.round_id)
        if known is not None:
            if known.command != command:
                raise Refused(Reason.ID_REUSED, "the round was opened with another body")
            return known
        if self.current is not None:
            raise Refused(Reason.ROUND_OVERLAP, "another round is open", round_id=self.current.id)
        if made_ns(command.round_id) < self.memory_begins_ns:
            raise Refused(
                Reason.ID_OUT_OF_TIME, "the round's id is older than the rounds that are remembered"
            )
        latest = self.latest()
        if latest is not None and command.starts_ns < latest.command.starts_ns:
            raise Refused(Reason.ROUND_OVERLAP, "a later round was opened before", round_id=latest.id)
        self._check(command)
        books = self._books
        opened = Round(command, books.number(f"pool:{command.round_id}"))
        for entry in command.entries:
            opened.memes[entry.meme_id] = self._book(opened, entry)
        carried = books.number(POOL_CARRIED)
        opened.carried_in_sats = books.balance[carried]
        carry = f"carry:{opened.id}"
        books.post(derived_id(carry), carried, opened.account, opened.carried_in_sats, carry)
        self.by_id[opened.id] = self.current = opened
        return opened

    def forget(self) -> list[Round]:
        """Forgets all but the newest KEPT rounds and returns them; they wait for the history."""
        forgotten = list(self.by_id.values())[:-KEPT]
        for old in forgotten:
            del self.by_id[old.id]
            # Who watched what is nobody's business any more, and most of a round's size.
            for book in old.memes.values():
                book.viewers.clear()
        self.leaving += forgotten
        if forgotten:
            self.memory_begins_ns = next(iter(self.by_id.values())).command.starts_ns
        return forgotten

    def find(self, round_id: str) -> Round | None:
        """The round, also one that waits for the history."""
        found = self.by_id.get(round_id)
        return found or next((one for one in self.leaving if one.id == round_id), None)

    def drop_rounds(self, last_id: str) -> None:
        """Drops those that wait for the history up to this one: they are there."""
        for place, one in enumerate(self.leaving):
            if one.id == last_id:
                del self.leaving[: place + 1]
                return

    def owner_changed(self, meme_id: str) -> None:
        """Settles the old owner's share of the running round before the title goes on."""
        if self.current is None or self.current.state is not RoundState.OPEN:
            return
        book = self.current.memes.get(meme_id)
        if book is None:
            return
        owner_id = self._titles.by_meme[meme_id].owner_id
        self._put_on_record(self.current, book, book.owner)
        book.begin_tenure(self._books.now_ns, owner_id, self._books.number(user_account(owner_id)))

    def accrue(self, book: MemeBook) -> None:
        """Pays what the accumulated takings entitle to beyond what was paid. The rest stays for the pool."""
        rates = book.rates
        due = entitlement(book.takings, rates)
        self._pay(book, book.fee, due.fee_sats)
        self._pay(book, book.creator, due.creator_sats)
        for share in book.owners.values():
            if share.takings:
                self._pay(book, share, entitlement(share.takings, rates).owner_sats)

    def lock(self, locked: Round) -> None:
        """Puts all shares on record and collects the pool. The sessions have been ended before."""
        for meme_id, book in locked.memes.items():
            for share in book.shares():
                self._put_on_record(locked, book, share)
            memo = f"pool:{locked.id}:{meme_id}"
            left = self._books.balance[book.takings_account]
            self._books.post(derived_id(memo), book.takings_account, locked.account, left, memo)
        locked.pool_sats = self._books.balance[locked.account]
        locked.state = RoundState.LOCKED

    def distribute(self, paid: Round, ranking: tuple[str, ...]) -> None:
        """Pays the pool to the creators of the ranked memes; what cannot be paid is carried over."""
        if paid.state is RoundState.DISTRIBUTED:
            if paid.ranking != ranking:
                raise Refused(Reason.ID_REUSED, "the pool was paid by another ranking")
            return
        require(paid, RoundState.LOCKED)
        scored = {meme_id for meme_id, book in paid.memes.items() if book.has_score()}
        if len(set(ranking)) != len(ranking) or set(ranking) != scored:
            raise Refused(Reason.RANKING_MISMATCH, "the ranking must name each scored entry once")
        amounts = pool_payouts(paid.pool_sats, len(ranking), paid.rates)
        paid.payouts = tuple(
            self._pay_out(paid, rank, ranking[rank - 1], amount) for rank, amount in enumerate(amounts, 1)
        )
        self._carry_on(paid, f"carried:{paid.id}")
        paid.ranking, paid.state, self.current = ranking, RoundState.DISTRIBUTED, None

    def void(self, voided: Round, viewings: list[tuple[str, int, int, int]]) -> None:
        """Takes back what was paid, refunds each (session, viewer's account, takings account, sats)."""
        books = self._books
        for meme_id, book in voided.memes.items():
            for share in book.shares():
                self._put_on_record(voided, book, share)
                memo = f"void:{voided.id}:{meme_id}:{share.role}"
                books.take(derived_id(memo), share.account, book.takings_account, share.paid, memo)
            memo = f"void:{voided.id}:{meme_id}:pool"
            if voided.state is RoundState.LOCKED:
                left = book.takings - sum(share.paid for share in book.shares())
                books.post(derived_id(memo), voided.account, book.takings_account, left, memo)
        for session_id, viewer, takings_account, burned in viewings:
            memo = f"refund:{session_id}"
            books.post(derived_id(memo), takings_account, viewer, burned, memo)
            voided.refunded_sats += burned
        self._carry_on(voided, f"void:{voided.id}")
        voided.pool_sats, voided.state, self.current = 0, RoundState.VOIDED, None

    def _check(self, command: OpenRound) -> None:
        rates, entries = command.parameters, command.entries
        now_ns, length_s = self._books.now_ns, (command.locks_ns - command.starts_ns) / 1e9
        shares = (rates.platform_fee_bp, rates.instant_bp, rates.creator_bp, rates.winner_bp)
        # Fee and instant part of one whole: with more, floors of several owners could exceed the takings.
        sound = (
            0 <= command.starts_ns <= now_ns + STARTS_WITHIN_NS
            and 0 < length_s <= ROUND_S_MAX
            and 0 < len(entries) <= ENTRIES_MAX
            and len({entry.meme_id for entry in entries}) == len(entries)
            and all(0 <= share <= BASIS_POINTS for share in shares)
            and rates.platform_fee_bp + rates.instant_bp <= BASIS_POINTS
            and min(rates.second_price_sats, rates.session_max_s) > 0
            and min(rates.version, rates.free_below_s, rates.scored_seconds_max) >= 0
            and min(rates.ranks_paid, rates.payout_min_sats) >= 0
        )
        if not sound:
            raise Refused(Reason.ROUND_INVALID, "parameters, times or entries make no round")
        for entry in entries:
            if self._titles.get(entry.meme_id).creator_id != entry.creator_id:
                raise Refused(
                    Reason.CREATOR_MISMATCH, "the meme's title has another creator", meme_id=entry.meme_id
                )

    def _book(self, opened: Round, entry: Entry) -> MemeBook:
        books = self._books
        book = MemeBook(
            entry,
            opened.rates,
            books.number(f"takings:{opened.id}:{entry.meme_id}"),
            Share("fee", books.number(FEE)),
            Share("creator", books.number(user_account(entry.creator_id))),
        )
        owner_id = self._titles.by_meme[entry.meme_id].owner_id
        book.begin_tenure(0, owner_id, books.number(user_account(owner_id)))
        return book

    def _pay(self, book: MemeBook, share: Share, due: int) -> None:
        amount = due - share.paid
        if amount:
            self._books.move(book.takings_account, share.account, amount)
            share.paid = due
            if share.account in self._books.debt:
                self._books.settle_debt(share.account)

    def _put_on_record(self, of: Round, book: MemeBook, share: Share) -> None:
        amount = share.paid - share.posted
        if amount:
            memo = f"share:{of.id}:{book.entry.meme_id}:{share.role}"
            transfer_id = derived_id(f"{memo}:{share.posted}")
            self._books.record(transfer_id, book.takings_account, share.account, amount, memo)
            share.posted = share.paid

    def _pay_out(self, paid: Round, rank: int, meme_id: str, amount: int) -> Payout:
        memo = f"payout:{paid.id}:{rank}"
        user_id, transfer_id = paid.memes[meme_id].entry.creator_id, derived_id(memo)
        self._books.post(transfer_id, paid.account, self._books.number(user_account(user_id)), amount, memo)
        return Payout(rank, meme_id, user_id, amount, transfer_id)

    def _carry_on(self, closed: Round, memo: str) -> None:
        closed.carried_out_sats = self._books.balance[closed.account]
        self._books.post(
            derived_id(memo), closed.account, self._books.number(POOL_CARRIED), closed.carried_out_sats, memo
        )


def require(found: Round, *states: RoundState) -> None:
    """Raises ROUND_VOIDED or ROUND_NOT_ACTIVE when the round is in none of these states."""
    if found.state in states:
        return
    if found.state is RoundState.VOIDED:
        raise Refused(Reason.ROUND_VOIDED, "the round was voided", round_id=found.id)
    raise Refused(Reason.ROUND_NOT_ACTIVE, f"the round is {found.state.name}", state=found.state.name)
