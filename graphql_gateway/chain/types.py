"""Blocks, transactions, deposits, withdrawals, and what is written on chain."""

from __future__ import annotations

import enum
from datetime import datetime

import strawberry
from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.content.v1 import content_pb2
from satreel.ledger.v1 import ledger_service_pb2
from satreel.rounds.v1 import rounds_pb2
from strawberry import relay

from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, Round, User
from graphql_gateway.proto import proto_enum, proto_type
from graphql_gateway.safety.declared import SAME_FOR_ALL, up_to
from graphql_gateway.scalars import Long, Sats


@proto_enum(chain_pb2.TransactionState, "TransactionState")
class TransactionState(enum.IntEnum):
    """Where a transaction stands."""

    SIGNED = 1
    SEEN = 2
    MINED = 3
    FINAL = 4
    REJECTED = 5
    SENT = 6
    CONTESTED = 7
    REORGANISED = 8
    REPLACED = 9


@proto_enum(chain_pb2.Purpose, "TransactionPurpose")
class TransactionPurpose(enum.IntEnum):
    """What a transaction is for."""

    WITHDRAWAL = 1
    INSCRIPTION = 2
    TITLE_TRANSFER = 3
    RESULT = 4
    WALLET = 5
    BUMP = 6
    SWEEP = 7


@proto_enum(chain_pb2.DepositState, "DepositState")
class DepositState(enum.IntEnum):
    """Where a deposit stands."""

    SEEN = 1
    CREDITED = 2
    REVERSED = 3


@proto_enum(chain_pb2.WithdrawalState, "WithdrawalState")
class WithdrawalState(enum.IntEnum):
    """Where a withdrawal stands."""

    QUEUED = 1
    SENT = 2
    CONFIRMED = 3
    FAILED = 4


@proto_type(chain_pb2.Block)
class Block:
    """A block of the winning chain."""

    hash: str
    height: Long
    previous_hash: str
    mined_at: datetime
    seen_at: datetime


@proto_type(chain_service_pb2.GetTipResponse)
class ChainTip:
    """The best block known, and how sure that is."""

    block: Block
    confirmed_at: datetime | None
    stale: bool
    rival: Block | None


@proto_type(chain_service_pb2.BlockEvent)
class BlockEvent:
    """The winning chain moved."""

    at: datetime
    orphaned: list[Block] = up_to(20)
    connected: list[Block] = up_to(20)


@proto_type(chain_pb2.ChainTransaction)
class ChainTransaction:
    """A transaction that the mesh made."""

    txid: str
    purpose: TransactionPurpose
    state: TransactionState
    fee_sats: Sats
    size_bytes: Long
    confirmations: Long
    block_hash: str | None
    created_at: datetime
    replaced_by: str | None


@proto_type(chain_pb2.ChainDeposit, name="Deposit")
class Deposit:
    """Coins that a user sent to an address of their own."""

    id: strawberry.ID
    amount_sats: Sats
    txid: str
    vout: int
    state: DepositState
    confirmations: Long
    block_hash: str | None
    seen_at: datetime
    address: str


@proto_type(chain_pb2.Withdrawal, loader="withdrawals")
class Withdrawal(relay.Node):
    """Coins that leave to a user's address."""

    id: relay.NodeID[str]
    address: str
    amount_sats: Sats
    fee_sats: Sats
    state: WithdrawalState
    txid: str | None
    confirmations: Long
    requested_at: datetime
    failure: str | None


@proto_type(chain_pb2.Inscription)
class Inscription:
    """A meme's title on chain: a 1Sat ordinal."""

    origin: str | None
    outpoint: str | None
    address: str
    state: TransactionState | None
    confirmations: Long


@proto_type(chain_pb2.ResultRecord)
class ResultRecord:
    """A round's result on chain."""

    txid: str | None
    state: TransactionState | None
    confirmations: Long
    payload_sha256: str
    payload_json: str


@part_of(Meme)
class MemeOnChain:
    """What the chain knows of a meme."""

    @strawberry.field(description="Its title on chain; null until it is asked for.", metadata=SAME_FOR_ALL)
    async def inscription(self: content_pb2.Meme, info: Info) -> Inscription | None:
        """The ordinal."""
        return await info.context.loaders.inscriptions.load(self.id)


@part_of(Round)
class RoundOnChain:
    """What the chain knows of a round."""

    @strawberry.field(description="Its result on chain; null until it is asked for.", metadata=SAME_FOR_ALL)
    async def record(self: rounds_pb2.Round, info: Info) -> ResultRecord | None:
        """The record."""
        return await info.context.loaders.records.load(self.id)


@proto_enum(chain_service_pb2.HotLevel, "HotLevel")
class HotLevel(enum.IntEnum):
    """Where the hot wallet stands."""

    WITHIN = 1
    BELOW_FLOOR = 2
    ABOVE_CEILING = 3


@proto_type(chain_service_pb2.WalletFreeze)
class WalletFreeze:
    """A coin of ours that was spent by somebody else: nothing is signed until it was looked into."""

    txid: str
    outpoint: str
    why: str
    since: datetime


@proto_type(chain_service_pb2.GetCustodyResponse)
class Custody:
    """Coins held against what the ledger owes."""

    coins_sats: Sats
    uncredited_sats: Sats
    in_flight_sats: Sats
    unposted_cost_sats: Sats
    owed_sats: Sats
    difference_sats: Sats
    coins: Long
    cold_sats: Sats
    hot_level: HotLevel
    freezes: list[WalletFreeze] = up_to(100)


@proto_enum(chain_pb2.TitleDifferenceKind, "TitleDifferenceKind")
class TitleDifferenceKind(enum.IntEnum):
    """In what ledger and chain differ on a title."""

    NOT_INSCRIBED = 1
    UNKNOWN = 2
    OWNER = 3
    KEY = 4
    SPENT = 5
    ORIGIN = 6


@proto_type(chain_pb2.TitleDifference)
class TitleDifference:
    """A title on which ledger and chain differ."""

    kind: TitleDifferenceKind
    outpoint: str | None
    detail: str
    since: datetime

    @strawberry.field(description="The meme whose title it is.")
    async def meme(self: chain_pb2.TitleDifference, info: Info) -> Meme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="Owner in the ledger; null where it has no such title, or was not asked.")
    async def ledger_owner(self: chain_pb2.TitleDifference, info: Info) -> User | None:
        """By the ledger."""
        return await info.context.loaders.users.load(self.ledger_owner_id) if self.ledger_owner_id else None

    @strawberry.field(description="For whom it is held on chain.")
    async def chain_owner(self: chain_pb2.TitleDifference, info: Info) -> User | None:
        """By the chain."""
        return await info.context.loaders.users.load(self.chain_owner_id)


@proto_type(chain_service_pb2.GetTitleAuditResponse)
class TitleAudit:
    """What the comparison found."""

    looked_at: datetime | None
    titles: Long
    differences: list[TitleDifference] = up_to(100)
    different: Long


@proto_type(ledger_service_pb2.GetTotalsResponse)
class LedgerTotals:
    """Sums over the whole ledger."""

    sum_sats: Sats
    coins_owed_sats: Sats
    users_sats: Sats
    platform_sats: Sats
    rounds_sats: Sats
    debts_sats: Sats
    journal_sequence: Long
    journal_hash: str
    postings: Long


@strawberry.type(description="The books: what the ledger says and what is on chain.")
class Books:
    """Both sides of the accounts."""

    totals: LedgerTotals = strawberry.field(description="Sums over the whole ledger.")
    custody: Custody = strawberry.field(description="Coins held against what the ledger owes.")
