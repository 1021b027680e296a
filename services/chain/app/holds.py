"""What a withdrawal asks of the ledger at each step, and its part of the miner's fee."""

from __future__ import annotations

from collections.abc import Sequence

from services.chain.app.orders import Shares
from services.chain.app.ports import Hold, Post, Release, Transfer
from services.chain.domain.entities import Withdrawal
from services.chain.domain.spending import split_fee
from services.chain.domain.values import COINS_ACCOUNT, Sats, account_of, derived_id


def shares_of(batch: Sequence[Withdrawal], fee_sats: Sats) -> Shares:
    """Each one's part of the fee, and what all of them pay."""
    shares, _ = split_fee(fee_sats, [withdrawal.ceiling_sats for withdrawal in batch])
    return Shares(tuple(shares), sum(withdrawal.amount_sats for withdrawal in batch) + sum(shares))


def hold_of(withdrawal: Withdrawal) -> Hold:
    """Keeps back amount and fee until it is mined; each attempt has a hold of its own."""
    id_ = derived_id(withdrawal.requested_ns, "hold", withdrawal.id, str(withdrawal.holds))
    memo = f"withdrawal:{withdrawal.id}"
    return Hold(id_, account_of(withdrawal.user_id), withdrawal.held_sats, memo)


def post_of(withdrawal: Withdrawal, at_ns: int) -> Post:
    """Takes what it cost; the rest of the hold is released. `at_ns`: when its transaction was made."""
    hold_id = hold_of(withdrawal).id
    return Post(derived_id(at_ns, "post", hold_id), hold_id, _paid_sats(withdrawal))


def undo_of(withdrawal: Withdrawal, at_ns: int) -> Release | Transfer:
    """Gives back what the ledger holds, or has posted. `at_ns`: when what is undone was made."""
    hold_id = hold_of(withdrawal).id
    if not withdrawal.posted:
        return Release(derived_id(at_ns, "release", hold_id), hold_id)
    account = account_of(withdrawal.user_id)
    memo = f"withdrawal undone:{withdrawal.id}"
    id_ = derived_id(at_ns, "unpost", hold_id)
    return Transfer(id_, COINS_ACCOUNT, account, _paid_sats(withdrawal), memo)


def _paid_sats(withdrawal: Withdrawal) -> Sats:
    return Sats(withdrawal.amount_sats + withdrawal.share_sats)
