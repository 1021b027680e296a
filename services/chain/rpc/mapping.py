"""Between the contract's messages and the domain."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from satreel.chain.v1 import chain_pb2, chain_service_pb2

from services.chain.app.custody import Custody
from services.chain.app.freshness import Freshness
from services.chain.app.ports import DepositView, ResultView, Subject, TitleView, UndoneView, WithdrawalView
from services.chain.app.sweeping import Level
from services.chain.app.title_audit import Difference, Kind, Report
from services.chain.domain.entities import Deposit, Freeze, Tx, Withdrawal
from services.chain.domain.header import Block
from services.chain.domain.headers import HeaderChain, Switch
from services.chain.domain.states import DepositState, TxState, WithdrawalState
from services.chain.domain.values import Purpose

NS_PER_S = 1_000_000_000

TX_STATES = {
    TxState.SIGNED: chain_pb2.TRANSACTION_STATE_SIGNED,
    TxState.SEEN: chain_pb2.TRANSACTION_STATE_SEEN,
    TxState.MINED: chain_pb2.TRANSACTION_STATE_MINED,
    TxState.FINAL: chain_pb2.TRANSACTION_STATE_FINAL,
    TxState.REJECTED: chain_pb2.TRANSACTION_STATE_REJECTED,
    TxState.SENT: chain_pb2.TRANSACTION_STATE_SENT,
    TxState.CONTESTED: chain_pb2.TRANSACTION_STATE_CONTESTED,
    TxState.REORGANISED: chain_pb2.TRANSACTION_STATE_REORGANISED,
    TxState.REPLACED: chain_pb2.TRANSACTION_STATE_REPLACED,
}
PURPOSES = {
    Purpose.WITHDRAWAL: chain_pb2.PURPOSE_WITHDRAWAL,
    Purpose.INSCRIPTION: chain_pb2.PURPOSE_INSCRIPTION,
    Purpose.TITLE_TRANSFER: chain_pb2.PURPOSE_TITLE_TRANSFER,
    Purpose.RESULT: chain_pb2.PURPOSE_RESULT,
    Purpose.WALLET: chain_pb2.PURPOSE_WALLET,
    Purpose.BUMP: chain_pb2.PURPOSE_BUMP,
    Purpose.SWEEP: chain_pb2.PURPOSE_SWEEP,
}
HOT_LEVELS = {
    Level.WITHIN: chain_service_pb2.HOT_LEVEL_WITHIN,
    Level.BELOW_FLOOR: chain_service_pb2.HOT_LEVEL_BELOW_FLOOR,
    Level.ABOVE_CEILING: chain_service_pb2.HOT_LEVEL_ABOVE_CEILING,
}
DEPOSIT_STATES = {
    DepositState.SEEN: chain_pb2.DEPOSIT_STATE_SEEN,
    DepositState.CREDITED: chain_pb2.DEPOSIT_STATE_CREDITED,
    DepositState.REVERSED: chain_pb2.DEPOSIT_STATE_REVERSED,
}
WITHDRAWAL_STATES = {
    WithdrawalState.QUEUED: chain_pb2.WITHDRAWAL_STATE_QUEUED,
    WithdrawalState.ASSIGNED: chain_pb2.WITHDRAWAL_STATE_QUEUED,
    WithdrawalState.SENT: chain_pb2.WITHDRAWAL_STATE_SENT,
    WithdrawalState.CONFIRMED: chain_pb2.WITHDRAWAL_STATE_CONFIRMED,
    WithdrawalState.FAILED: chain_pb2.WITHDRAWAL_STATE_FAILED,
}


TITLE_DIFFERENCES = {
    Kind.NOT_INSCRIBED: chain_pb2.TITLE_DIFFERENCE_KIND_NOT_INSCRIBED,
    Kind.UNKNOWN: chain_pb2.TITLE_DIFFERENCE_KIND_UNKNOWN,
    Kind.OWNER: chain_pb2.TITLE_DIFFERENCE_KIND_OWNER,
    Kind.KEY: chain_pb2.TITLE_DIFFERENCE_KIND_KEY,
    Kind.SPENT: chain_pb2.TITLE_DIFFERENCE_KIND_SPENT,
    Kind.ORIGIN: chain_pb2.TITLE_DIFFERENCE_KIND_ORIGIN,
}
DIFFERENCES_MAX = 1_000
FREEZES_MAX = 100


def timestamp(ns: int) -> Timestamp:
    """An instant."""
    found = Timestamp()
    found.FromNanoseconds(ns)
    return found


def block(found: Block) -> chain_pb2.Block:
    """A block."""
    return chain_pb2.Block(
        hash=found.hash,
        height=found.height,
        previous_hash=found.previous_hash,
        mined_at=timestamp(found.mined_at_s * NS_PER_S),
        seen_at=timestamp(found.seen_at_ns or found.mined_at_s * NS_PER_S),
    )


def deposit(found: Deposit, confirmations: int) -> chain_pb2.ChainDeposit:
    """A deposit."""
    return chain_pb2.ChainDeposit(
        id=found.id,
        user_id=found.user_id,
        amount_sats=found.sats,
        txid=found.outpoint.txid,
        vout=found.outpoint.vout,
        state=DEPOSIT_STATES[found.state],
        confirmations=confirmations,
        block_hash=found.block_hash,
        seen_at=timestamp(found.seen_ns),
        address=found.address,
        reversals=found.reversals,
    )


def withdrawal(found: Withdrawal, confirmations: int) -> chain_pb2.Withdrawal:
    """A withdrawal; its fee is a ceiling until it is sent."""
    return chain_pb2.Withdrawal(
        id=found.id,
        user_id=found.user_id,
        address=found.address,
        amount_sats=found.amount_sats,
        fee_sats=found.share_sats if found.txid else found.ceiling_sats,
        state=WITHDRAWAL_STATES[found.state],
        txid=found.txid,
        confirmations=confirmations,
        requested_at=timestamp(found.requested_ns),
        failure=found.failure,
    )


def inscription(shown: TitleView) -> chain_pb2.Inscription:
    """A title on chain."""
    title = shown.title
    return chain_pb2.Inscription(
        meme_id=title.meme_id,
        origin=title.origin,
        outpoint=title.outpoint,
        owner_id=title.owner_id,
        address=title.address,
        state=_state(shown.tx_state),
        confirmations=shown.confirmations,
    )


def record(shown: ResultView) -> chain_pb2.ResultRecord:
    """A round's record."""
    result = shown.result
    return chain_pb2.ResultRecord(
        round_id=result.round_id,
        txid=result.txid,
        state=_state(shown.tx_state),
        confirmations=shown.confirmations,
        payload_sha256=result.sha256,
        payload_json=result.payload_json,
    )


def _state(state: str | None) -> chain_pb2.TransactionState.ValueType:
    return chain_pb2.TRANSACTION_STATE_UNSPECIFIED if state is None else TX_STATES[TxState(state)]


def transaction(tx: Tx, confirmations: int) -> chain_pb2.ChainTransaction:
    """A transaction of ours."""
    return chain_pb2.ChainTransaction(
        txid=tx.txid,
        purpose=PURPOSES[tx.purpose],
        state=TX_STATES[tx.state],
        fee_sats=tx.fee_sats,
        size_bytes=len(tx.raw),
        confirmations=confirmations,
        block_hash=tx.block_hash,
        block_height=tx.block_height,
        created_at=timestamp(tx.created_ns),
        replaced_by=tx.replaced_by,
    )


def undone(shown: UndoneView) -> chain_service_pb2.BlockUndone:
    """What was undone with a block."""
    part = shown.undo
    return chain_service_pb2.BlockUndone(
        block_hash=part.block_hash,
        block_height=part.height,
        part=part.part,
        last=part.last,
        deposits=(
            chain_service_pb2.UndoneDeposit(
                deposit_id=found.id,
                user_id=found.user_id,
                amount_sats=found.sats,
                txid=found.outpoint.txid,
                vout=found.outpoint.vout,
                credit_id=credit_id,
            )
            for found, credit_id in shown.deposits
        ),
        transactions=map(_undone_transaction, shown.txs),
    )


def _undone_transaction(tx: Tx) -> chain_service_pb2.UndoneTransaction:
    found = chain_service_pb2.UndoneTransaction(txid=tx.txid, purpose=PURPOSES[tx.purpose])
    match tx.purpose:
        case Purpose.WITHDRAWAL:
            found.withdrawal_ids.extend(tx.jobs)
        case Purpose.INSCRIPTION:
            (found.meme_id,) = tx.jobs
        case Purpose.TITLE_TRANSFER:
            found.sale_id, found.meme_id = tx.jobs
        case Purpose.RESULT:
            (found.round_id,) = tx.jobs
    return found


def tip(chain: HeaderChain, freshness: Freshness) -> chain_service_pb2.GetTipResponse:
    """Our tip, and how sure it is."""
    return chain_service_pb2.GetTipResponse(
        block=block(chain.tip),
        confirmed_at=timestamp(freshness.confirmed_ns) if freshness.confirmed_ns else None,
        stale=freshness.stale,
        rival=block(freshness.rival) if freshness.rival else None,
    )


def custody(found: Custody, level: Level, frozen: Sequence[Freeze]) -> chain_service_pb2.GetCustodyResponse:
    """Coins against debts."""
    return chain_service_pb2.GetCustodyResponse(
        coins_sats=found.coins_sats,
        uncredited_sats=found.uncredited_sats,
        in_flight_sats=found.in_flight_sats,
        unposted_cost_sats=found.unposted_cost_sats,
        owed_sats=found.owed_sats,
        difference_sats=found.difference_sats,
        coins=found.coins,
        cold_sats=found.cold_sats,
        hot_level=HOT_LEVELS[level],
        freezes=freezes(frozen),
    )


def freezes(found: Sequence[Freeze]) -> list[chain_service_pb2.WalletFreeze]:
    """What stops the wallet."""
    return [
        chain_service_pb2.WalletFreeze(
            txid=one.txid, outpoint=str(one.outpoint), why=one.why, since=timestamp(one.since_ns)
        )
        for one in found[:FREEZES_MAX]
    ]


def title_audit(found: Report) -> chain_service_pb2.GetTitleAuditResponse:
    """Titles on which ledger and chain differ."""
    return chain_service_pb2.GetTitleAuditResponse(
        looked_at=timestamp(found.looked_ns) if found.looked_ns else None,
        titles=found.titles,
        differences=map(_title_difference, found.differences[:DIFFERENCES_MAX]),
        different=len(found.differences),
    )


def _title_difference(found: Difference) -> chain_pb2.TitleDifference:
    return chain_pb2.TitleDifference(
        meme_id=found.meme_id,
        kind=TITLE_DIFFERENCES[found.kind],
        ledger_owner_id=found.ledger_owner_id,
        chain_owner_id=found.chain_owner_id,
        outpoint=found.outpoint,
        detail=found.detail,
        since=timestamp(found.since_ns),
    )


def block_event(event_id: str, at_ns: int, switch: Switch) -> bytes:
    """The winning chain moved, for the feed."""
    return chain_service_pb2.BlockEvent(
        id=event_id,
        at=timestamp(at_ns),
        orphaned=map(block, switch.orphaned),
        connected=map(block, switch.connected),
    ).SerializeToString()


def chain_event(event_id: str, at_ns: int, subject: Subject) -> bytes:
    """Something changed its state, for the feed."""
    event = chain_service_pb2.ChainEvent(id=event_id, at=timestamp(at_ns))
    match subject:
        case DepositView():
            event.deposit.CopyFrom(deposit(subject.deposit, subject.confirmations))
        case WithdrawalView():
            event.withdrawal.CopyFrom(withdrawal(subject.withdrawal, subject.confirmations))
        case TitleView():
            event.inscription.CopyFrom(inscription(subject))
        case ResultView():
            event.record.CopyFrom(record(subject))
        case UndoneView():
            event.undone.CopyFrom(undone(subject))
    return event.SerializeToString()
