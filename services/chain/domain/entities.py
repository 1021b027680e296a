"""What the service keeps. Field names are the bins of records, so they have at most 15 characters."""

from __future__ import annotations

from dataclasses import dataclass

from services.chain.domain.keys import KeyPath, KeyUse
from services.chain.domain.states import CoinState, DepositState, JobState, TxState, WithdrawalState
from services.chain.domain.values import BlockHash, MemeId, Outpoint, PlanId, Purpose, Sats, Txid, UserId

NO_PLAN = PlanId("")
NO_TXID = Txid("")
NO_BLOCK = BlockHash("")


@dataclass(frozen=True, slots=True)
class Account:
    """The key index of a user; made once, never changed."""

    index: int
    user_id: UserId


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that one of our keys can spend.

    `plan` is the transaction that spends or is about to spend it; `deposit_id` names the deposit it came
    with; `credited` says whether the ledger knows of it; `lost_in`, at
    `lost_height`, is the block in which somebody else spent it, by `lost_to`.
    """

    outpoint: Outpoint
    sats: Sats
    path: KeyPath
    state: CoinState
    plan: PlanId = NO_PLAN
    deposit_id: str = ""
    credited: bool = True
    lost_in: BlockHash = NO_BLOCK
    lost_height: int = 0
    lost_to: Txid = NO_TXID

    @property
    def is_free(self) -> bool:
        """Whether nothing of ours spends it, and nobody else did."""
        return self.state is CoinState.FREE and not self.lost_in

    @property
    def is_title(self) -> bool:
        """Whether it carries a title, and is no money."""
        return self.path.use is KeyUse.TITLE


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction of ours from its signature on. `plan` is its key, known before it is signed.

    `jobs` are what it does, `shares` their parts of the fee, `change` the number of its last outputs, which
    come back; `title` is the key path of its first output if that carries a title. `cost_sats` is what the
    float pays, `cost_done` whether the ledger knows; `due_sats` is what the ledger posts
    once it is mined, 0 afterwards. `sent_height` is our tip when it was sent, and again when a reorganisation
    took its block. `replaced_by` does what it was for. `causes` are who ordered it (`traceparent`).
    `open` is 1 while something is left to do about it.
    """

    plan: PlanId
    purpose: Purpose
    state: TxState
    txid: Txid = NO_TXID
    raw: bytes = b""
    fee_sats: Sats = Sats(0)  # noqa: RUF009 - a NewType's call is the identity
    inputs: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    shares: tuple[int, ...] = ()
    cost_sats: int = 0
    cost_done: bool = True
    cost_tries: int = 0
    block_hash: BlockHash = NO_BLOCK
    block_height: int = 0
    created_ns: int = 0
    change: int = 0
    due_sats: int = 0
    title: str = ""
    sent_height: int = 0
    replaced_by: Txid = NO_TXID
    causes: tuple[str, ...] = ()
    open: int = 1


@dataclass(frozen=True, slots=True)
class Freeze:
    """Why nothing is signed: `txid`, which is not under way here, spent the coin `outpoint` of ours.

    `lifted` is 1 once an administrator, `lifted_by`, has looked into it.
    """

    txid: Txid
    outpoint: Outpoint
    why: str
    since_ns: int
    lifted: int = 0
    lifted_by: str = ""


@dataclass(frozen=True, slots=True)
class Deposit:
    """Coins that somebody sent.

    `credit_id` is its id in the ledger, from when that is asked to credit it until the block is undone: the
    same outpoint is another credit in another block, and after each reversal.
    """

    id: str
    user_id: UserId
    outpoint: Outpoint
    sats: Sats
    address: str
    state: DepositState
    seen_ns: int
    coinbase: bool = False
    block_hash: BlockHash = NO_BLOCK
    block_height: int = 0
    credit_id: str = ""
    reversals: int = 0
    gone_height: int = 0


@dataclass(frozen=True, slots=True)
class Undo:
    """What a block that left the chain had done, written down before any of it is undone.

    `part` counts from 1; what is no longer than one part is whole, and the last part has `last`. `deposits`
    are "<id>=<credit_id>", the latter empty where the ledger was not asked yet; `txs` are plans.
    """

    key: str
    block_hash: BlockHash
    height: int
    part: int
    last: bool
    at_ns: int
    deposits: tuple[str, ...] = ()
    txs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Coins that leave to an address. The ledger holds amount and `ceiling_sats` until it is mined.

    `holds` counts refused holds: the ledger remembers them, so the next one needs an id of its own.
    """

    id: str
    user_id: UserId
    address: str
    amount_sats: Sats
    ceiling_sats: Sats
    state: WithdrawalState
    requested_ns: int
    plan: PlanId = NO_PLAN
    txid: Txid = NO_TXID
    share_sats: Sats = Sats(0)  # noqa: RUF009 - see above
    posted: bool = False
    attempts: int = 0
    holds: int = 0
    failure: str = ""

    @property
    def held_sats(self) -> Sats:
        """What the ledger holds for it."""
        return Sats(self.amount_sats + self.ceiling_sats)


@dataclass(frozen=True, slots=True)
class TitleBody:
    """What is to be inscribed; written once."""

    meme_id: MemeId
    creator_id: UserId
    name: str
    mime: str
    poster: bytes
    film_sha256: str


@dataclass(frozen=True, slots=True)
class Title:
    """Where a title is on chain. `plan` is its last transaction."""

    meme_id: MemeId
    owner_id: UserId
    state: JobState
    requested_ns: int
    plan: PlanId = NO_PLAN
    origin: str = ""
    outpoint: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """A title's way to a new owner, for one sale."""

    sale_id: str
    meme_id: MemeId
    new_owner_id: UserId
    state: JobState
    requested_ns: int
    plan: PlanId = NO_PLAN


@dataclass(frozen=True, slots=True)
class Result:
    """A round's result to be written."""

    round_id: str
    payload_json: str
    sha256: str
    state: JobState
    requested_ns: int
    plan: PlanId = NO_PLAN
    txid: Txid = NO_TXID
