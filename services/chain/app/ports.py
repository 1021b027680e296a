"""What the use cases need of the world: small ports, each said from their side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.chain.domain.entities import Deposit, Result, Title, Tx, Undo, Withdrawal
from services.chain.domain.header import Block, Header
from services.chain.domain.headers import Switch
from services.chain.domain.scan import Findings, Interest
from services.chain.domain.values import BlockHash, MemeId, Outpoint, Sats, Txid, UserId
from services.chain.domain.wire import Output


class Broadcast(StrEnum):
    """What became of sending a transaction. UNKNOWN: it may have arrived; ask before anything else.

    REJECTED: it is invalid, anywhere. REFUSED: this node does not take it now; others may have it.
    CONTESTED: another spend of one of its coins is known; either may be mined, so this is never final.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REFUSED = "refused"
    CONTESTED = "contested"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of sending, and the node's words."""

    outcome: Broadcast
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A block's header as a source tells it: nothing of it is believed before it is checked.

    `confirmations` is -1 when the block is not on the source's best chain; `condemned` says that the source
    found it, or one below it, invalid.
    """

    header: Header
    height: int
    confirmations: int
    condemned: bool = False


class ChainReader(Protocol):
    """What the chain is read from: a node, or a public index.

    Every method raises NodeUnavailable when it gives no usable answer.
    """

    async def best(self) -> BlockHash:
        """Hash of its best block."""
        ...

    async def header(self, block_hash: BlockHash) -> Found | None:
        """A header, or None when the node does not know the block."""
        ...

    async def hash_at(self, height: int) -> BlockHash | None:
        """The block at this height of its best chain."""
        ...

    async def findings(self, block: Block, interest: Interest) -> Findings:
        """What in this block concerns us. What it says is proved by the block's header."""
        ...

    async def overlooked(
        self, blocks: Sequence[Block], interest: Interest, *, afresh: bool
    ) -> Mapping[BlockHash, Findings]:
        """What in these blocks, already read, may not have been told then.

        An index may know a block before it knows what stands in it. Who reads whole blocks says nothing.
        Each is told once; `afresh`: also what was told before, as perhaps nothing came of it.
        """
        ...

    async def pending(self, interest: Interest) -> Sequence[Txid]:
        """Transactions that wait to be mined and may concern us."""
        ...

    async def waiting(self, txids: Sequence[Txid]) -> set[Txid]:
        """Those of the transactions that are in the mempool, uncontested as far as is known."""
        ...

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Raw transactions, those that it knows."""
        ...

    async def unspent(self, outpoints: Sequence[Outpoint]) -> set[Outpoint]:
        """Those of the outputs that are there and that no transaction spends, mined or waiting to be."""
        ...

    def blame(self, why: str, *, lied: bool) -> None:
        """Hears that the block which it told last cannot be (it lied), or is behind ours."""
        ...


class ChainNews(Protocol):
    """What is told of the chain unasked."""

    def blocks(self) -> AsyncIterator[None]:
        """Yields whenever there may be a new best block."""
        ...

    def transactions(self) -> AsyncIterator[bytes]:
        """Raw transactions as they arrive; some may be missed."""
        ...


class Broadcaster(Protocol):
    """What brings transactions to the miners."""

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        """Sends a transaction; never raises, an outcome that is not known is one.

        `spent` are the outputs that its inputs spend, in their order; empty where they are not all known.
        """
        ...

    async def ask(self, txid: Txid) -> Sent:
        """What is known of a transaction that was sent; never raises, and no answer to it is final."""
        ...


class Hints(Protocol):
    """Who is called when something happens to a transaction of ours. A hint is a reason to ask, no more."""

    def transactions(self) -> AsyncIterator[Txid]:
        """Ids of transactions that may have changed."""
        ...


LATE_BLOCKS = 12
"""How far back a source may be late to tell what stood in a block."""


class Reason(StrEnum):
    """Why the ledger did not make a transfer, as far as it matters here."""

    INSUFFICIENT = "insufficient"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A transfer that the ledger refused."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Satoshis to be kept back for a withdrawal."""

    id: str
    account: str
    sats: Sats
    memo: str


@dataclass(frozen=True, slots=True)
class Post:
    """Part of a hold that is now spent; the rest is released."""

    id: str
    hold_id: str
    sats: Sats


@dataclass(frozen=True, slots=True)
class Release:
    """A hold that is given up."""

    id: str
    hold_id: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Satoshis from one account to another."""

    id: str
    debit: str
    credit: str
    sats: Sats
    memo: str


Movement = Hold | Post | Release | Transfer


@dataclass(frozen=True, slots=True)
class Credit:
    """A deposit that counts."""

    id: str
    user_id: UserId
    sats: Sats
    txid: Txid
    vout: int
    block_hash: BlockHash


class Ledger(Protocol):
    """The ledger service; its commands may be repeated. Raises RemoteFailure when the outcome is unknown."""

    async def move(self, movements: Sequence[Movement]) -> list[Refusal | None]:
        """Makes each movement on its own; None where it was made, now or before. At most 1,000."""
        ...

    async def credit(self, credits_: Sequence[Credit]) -> None:
        """Credits deposits. At most 1,000."""
        ...

    async def reverse(self, reversal_id: str, credit_id: str, reason: str) -> None:
        """Takes a credited deposit back."""
        ...

    async def owed_sats(self) -> Sats:
        """What the hot wallet must hold."""
        ...

    async def cold_sats(self) -> Sats:
        """What must lie at the cold address."""
        ...

    async def available_sats(self, account: str) -> Sats:
        """What an account may spend; 0 when it was never used."""
        ...

    async def title_owners(self, meme_ids: Sequence[MemeId]) -> Mapping[MemeId, UserId]:
        """Who owns the titles of these memes; those without one are left out. At most 1,000."""
        ...


class Users(Protocol):
    """Identity, as far as payouts go."""

    async def payout_addresses(self, user_ids: Sequence[UserId]) -> Mapping[UserId, str]:
        """Standing payout addresses of those users who want to be paid by themselves. At most 1,000."""
        ...


class News(Protocol):
    """Where events go. Publishing never fails and never waits."""

    def blocks(self, event_id: str, at_ns: int, switch: Switch) -> None:
        """The winning chain moved."""
        ...

    def changed(self, subject: Subject) -> None:
        """Something changed its state."""
        ...


class Fence(Protocol):
    """Leadership."""

    def check(self) -> None:
        """Raises a Failure when this process may no longer act as leader."""
        ...


@dataclass(frozen=True, slots=True)
class TitleView:
    """A title, and how its last transaction stands (None: not signed yet)."""

    title: Title
    tx_state: str | None
    confirmations: int


@dataclass(frozen=True, slots=True)
class ResultView:
    """A record, and how its transaction stands (None: not signed yet)."""

    result: Result
    tx_state: str | None
    confirmations: int


@dataclass(frozen=True, slots=True)
class DepositView:
    """A deposit, and the blocks on it."""

    deposit: Deposit
    confirmations: int


@dataclass(frozen=True, slots=True)
class WithdrawalView:
    """A withdrawal, and the blocks on its transaction."""

    withdrawal: Withdrawal
    confirmations: int


@dataclass(frozen=True, slots=True)
class UndoneView:
    """Part of what was undone with a block: deposits with their ids in the ledger, and our transactions."""

    undo: Undo
    deposits: tuple[tuple[Deposit, str], ...]
    txs: tuple[Tx, ...]


Subject = DepositView | WithdrawalView | TitleView | ResultView | UndoneView
"""What an event of ours is about."""
