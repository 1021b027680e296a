"""What the ledger's journal adds to metrics. A posting's memo says what it was for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.insight.domain.facts import Batch, Fact, batches

# Splits of takings that were counted when viewers paid them: not transactions of people.
_INTERNAL = frozenset({"share", "pool", "carry", "carried", "void"})
_SHARES = {
    "fee": "revenue.platform_fee",
    "creator": "revenue.creators",
    "owner": "revenue.owners",
    "pool": "revenue.pool",
}
PLATFORM_FEE = "platform:fee"


class Posting(NamedTuple):
    """A posting of satoshis; accounts by name."""

    transfer_id: str
    debit_account: str
    credit_account: str
    amount: int
    memo: str


def ledger_facts(event: ledger_service_pb2.LedgerEvent) -> list[Batch]:
    """A committed batch of the journal; its number is the event's id."""
    facts = [fact for posting in _postings(event.moved) for fact in _facts(posting)]
    facts += [fact for session in event.sessions for fact in _session(session)]
    return batches(f"ledger/{event.id}", event.at.ToNanoseconds(), facts)


def _postings(moved: ledger_service_pb2.Movements) -> Iterator[Posting]:
    """Those of satoshis."""
    names = moved.accounts
    for transfer_id, debit, credit, amount, memo in zip(
        moved.transfer_ids, moved.debits, moved.credits, moved.amounts, moved.memos, strict=True
    ):
        if debit not in moved.other_assets:
            yield Posting(transfer_id, names[debit], names[credit], amount, memo)


def _facts(posting: Posting) -> Iterator[Fact]:
    kind, *parts = posting.memo.split(":")
    if kind not in _INTERNAL:
        yield Fact("transactions.count", 1, posting.transfer_id)
        yield Fact("transactions.volume_sat", posting.amount, posting.transfer_id)
    match kind:
        case "view":
            yield Fact("revenue.takings", posting.amount, _meme(posting.credit_account))
        case "refund":
            yield Fact("revenue.takings", -posting.amount, _meme(posting.debit_account))
        case "share" if len(parts) >= 3 and parts[2] in _SHARES:
            yield Fact(_SHARES[parts[2]], posting.amount, parts[1])
        case "void" if len(parts) >= 3 and parts[2] in _SHARES:
            yield Fact(_SHARES[parts[2]], -posting.amount, parts[1])
        case "pool" if len(parts) >= 2:
            yield Fact("revenue.pool", posting.amount, parts[1])
        case "payout" if parts:
            yield Fact("revenue.payouts", posting.amount, parts[0])
        case "sale" if posting.credit_account == PLATFORM_FEE and parts:
            yield Fact("revenue.platform_fee", posting.amount, parts[0])


def _session(session: ledger_pb2.Session) -> Iterator[Fact]:
    ended = session.HasField("closed_at")
    if ended:
        yield Fact("sessions.ended", 1, session.id)
        if session.burned_sats:
            yield Fact("engagement.paid_seconds", session.seconds, session.meme_id)
    # One that ended in the very batch that opened it is told once, as ended; a batch has one time.
    if not ended or session.closed_at == session.opened_at:
        yield Fact("sessions.opened", 1, session.id)
        yield Fact("rounds.participation", 1, session.viewer_id)
    yield Fact("users.active", 1, session.viewer_id)


def _meme(takings_account: str) -> str:
    """The meme of "takings:<round>:<meme>"."""
    return takings_account.rpartition(":")[2]
