"""Sessions: paid viewings, what they are while they run, and what is shown of them.

A session is named in reports by its meter key, 64 bits of a hash of its id: a number read quickly, and a
wrong one meets nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from services.ledger.domain.commands import OpenSession
from services.ledger.domain.reasons import Reason
from services.ledger.domain.rounds import Round

NS_PER_S = 1_000_000_000
KEY_BYTES = 8
KEYS = 1 << 8 * KEY_BYTES
UNSCORED = -1


class StopReason(IntEnum):
    """See satreel.ledger.v1.StopReason."""

    RUNNING = 0
    CLOSED = 1
    BUDGET_SPENT = 2
    TIME_LIMIT = 3
    ROUND_LOCKED = 4
    ROUND_VOIDED = 5
    SILENCE = 6


class Session:
    """A paid viewing while the ledger works on it. `before`: number of the viewer's session before it."""

    __slots__ = (
        "account", "before", "book", "closed_ns", "command", "heard_ns", "key", "limit_s", "limit_stop",
        "number", "opened_ns", "plain_below_s", "price", "round", "score_left_s", "seconds", "stop",
    )  # fmt: skip

    def __init__(
        self, command: OpenSession, in_round: Round, *, account: int, at_ns: int, number: int
    ) -> None:
        self.command = command
        self.round = in_round
        self.book = in_round.memes[command.meme_id]
        self.account = account
        self.number = number
        self.key = self.before = 0
        self.opened_ns = self.heard_ns = at_ns
        self.closed_ns = 0
        self.seconds = 0
        self.stop = StopReason.RUNNING
        # The limit while it runs and pays, else 0: what lies below is one second like the other.
        self.plain_below_s = 0
        # How many of the viewer's seconds still count for the meme's score; UNSCORED before the first one.
        self.score_left_s = UNSCORED
        rates = in_round.rates
        self.price = rates.second_price_sats
        # The first of the limits that the session will reach, to the second.
        self.limit_s, self.limit_stop = min(
            (command.budget_sats // self.price, StopReason.BUDGET_SPENT),
            (rates.session_max_s, StopReason.TIME_LIMIT),
            ((in_round.command.locks_ns - at_ns) // NS_PER_S, StopReason.ROUND_LOCKED),
        )

    @property
    def paid_seconds(self) -> int:
        """All its seconds, once they are no longer free."""
        return self.seconds if self.seconds >= self.round.rates.free_below_s else 0

    @property
    def burned(self) -> int:
        """Satoshis it has cost."""
        return self.paid_seconds * self.price


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as it stood at some moment."""

    id: str
    number: int
    before: int
    meter_key: int
    viewer_id: str
    meme_id: str
    round_id: str
    budget_sats: int
    seconds: int
    burned_sats: int
    stop: StopReason
    opened_ns: int
    closed_ns: int


class Receipt(NamedTuple):
    """What became of a session's line in a report, from 0, when it ended or was refused."""

    line: int
    meter_key: int
    session_id: str
    seconds: int
    burned_sats: int
    stop: StopReason
    reason: Reason


class Report(NamedTuple):
    """What became of a report: what each session has burned, in the order asked, and who got more to hear."""

    burned_sats: list[int]
    receipts: list[Receipt]


def view_session(session: Session) -> SessionView:
    """A copy that later seconds do not change."""
    return SessionView(
        id=session.command.session_id,
        number=session.number,
        before=session.before,
        meter_key=session.key,
        viewer_id=session.command.viewer_id,
        meme_id=session.command.meme_id,
        round_id=session.round.id,
        budget_sats=session.command.budget_sats,
        seconds=session.seconds,
        burned_sats=session.burned,
        stop=session.stop,
        opened_ns=session.opened_ns,
        closed_ns=session.closed_ns,
    )


def key_of(session_id: str) -> int:
    """The meter key of a session, unless another running one has it by chance: then the next that is free."""
    return int.from_bytes(blake2b(session_id.encode(), digest_size=KEY_BYTES).digest())
