"""What can be asked of the state machine. Commands are all that the journal holds.

Long lists keep the shape they arrived in (protobuf messages satisfy the protocols below): building an object
per transfer would cost more than applying it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from services.ledger.domain.shares import Parameters
from services.ledger.domain.window import HORIZON_DAYS


class TransferKind(IntEnum):
    """See satreel.ledger.v1.TransferKind."""

    POST = 1
    HOLD = 2
    POST_HOLD = 3
    VOID_HOLD = 4


class TransferLike(Protocol):
    """A transfer to be made; see satreel.ledger.v1.Transfer for each field."""

    @property
    def id(self) -> str:
        """Made by the caller."""
        ...

    @property
    def kind(self) -> int:
        """A TransferKind."""
        ...

    @property
    def debit_account(self) -> str:
        """Who gives."""
        ...

    @property
    def credit_account(self) -> str:
        """Who gets."""
        ...

    @property
    def asset(self) -> str:
        """`sat` or a title."""
        ...

    @property
    def amount(self) -> int:
        """Whole units."""
        ...

    @property
    def hold_id(self) -> str:
        """The hold to end."""
        ...

    @property
    def linked(self) -> bool:
        """Applies only together with the next."""
        ...

    @property
    def hold_expires_s(self) -> int:
        """Lifetime of a hold, in seconds; 0: for ever."""
        ...

    @property
    def memo(self) -> str:
        """What it is for."""
        ...


class ColumnsLike(Protocol):
    """Plain transfers of satoshis in even columns; see satreel.ledger.v1.PostTransfersRequest."""

    @property
    def accounts(self) -> Sequence[str]:
        """Names that the columns point to."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Made by the caller."""
        ...

    @property
    def debits(self) -> Sequence[int]:
        """Who gives, by place in `accounts`."""
        ...

    @property
    def credits(self) -> Sequence[int]:
        """Who gets."""
        ...

    @property
    def amounts(self) -> Sequence[int]:
        """Satoshis."""
        ...

    @property
    def memos(self) -> Sequence[str]:
        """What they are for; may be empty."""
        ...


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer of our own making (tests, tools); the wire's messages are used as they are."""

    id: str
    debit_account: str = ""
    credit_account: str = ""
    amount: int = 0
    kind: int = TransferKind.POST
    asset: str = "sat"
    hold_id: str = ""
    linked: bool = False
    hold_expires_s: int = 0
    memo: str = ""


@dataclass(frozen=True, slots=True)
class Reign:
    """A leader begins; its settings become part of the state. Not a command: nobody asks for it."""

    session_silence_s: int
    horizon_days: int = HORIZON_DAYS


@dataclass(frozen=True, slots=True)
class CreateTransfers:
    """Transfers in the order they apply, asked for by a service."""

    caller: str
    transfers: Sequence[TransferLike]


@dataclass(frozen=True, slots=True)
class PostTransfers:
    """Plain transfers in the order they apply, asked for by a service in columns."""

    caller: str
    columns: ColumnsLike


@dataclass(frozen=True, slots=True)
class IssueTitle:
    """A meme's first owner."""

    meme_id: str
    creator_id: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """Coins seen on chain, to be credited. `account` is the full name of who gets them."""

    id: str
    account: str
    amount_sats: int
    txid: str
    vout: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class CreditDeposits:
    """Deposits that count; all of them or none."""

    deposits: tuple[Deposit, ...]


@dataclass(frozen=True, slots=True)
class ReverseDeposit:
    """A deposit that the chain undid."""

    id: str
    deposit_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A meme that plays in a round."""

    meme_id: str
    creator_id: str
    quality_ppm: int


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round to meter from `starts_ns` up to `locks_ns`."""

    round_id: str
    parameters: Parameters
    starts_ns: int
    locks_ns: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class LockRound:
    """The end of metering."""

    round_id: str


@dataclass(frozen=True, slots=True)
class DistributePool:
    """The pool, paid to the creators of the memes named, best first."""

    round_id: str
    ranking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VoidRound:
    """The undoing of an undistributed round."""

    round_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A viewer starts to watch, with a budget held for it."""

    session_id: str
    viewer_id: str
    meme_id: str
    budget_sats: int


@dataclass(frozen=True, slots=True)
class CloseSession:
    """A viewer stops watching."""

    session_id: str
    viewer_id: str


@dataclass(frozen=True, slots=True)
class ReportSeconds:
    """The running sessions of a gateway, by meter key, and the full seconds each has run in all."""

    meter_keys: Sequence[int]
    seconds: Sequence[int]


Command = (
    CreateTransfers
    | PostTransfers
    | IssueTitle
    | CreditDeposits
    | ReverseDeposit
    | OpenRound
    | LockRound
    | DistributePool
    | VoidRound
    | OpenSession
    | CloseSession
    | ReportSeconds
)
