"""What a round earned its creators: what the chain service is offered to pay out when the round ends."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from mesh.ids import derived_id
from services.rounds.domain.values import Round, Sats, UserId


@dataclass(frozen=True, slots=True)
class Earning:
    """What one user earned. The id depends on round and user only: queued twice it is paid once."""

    withdrawal_id: str
    user_id: UserId
    amount_sats: Sats


def earnings(round_: Round) -> tuple[Earning, ...]:
    """Pool payouts and creators' instant parts by user. Owners' parts are theirs to withdraw."""
    sums: defaultdict[UserId, int] = defaultdict(int)
    creators = {entry.meme_id: entry.creator_id for entry in round_.entries}
    for row in round_.tally or ():
        sums[creators[row.meme_id]] += row.creator_sats
    for payout in round_.distribution.payouts if round_.distribution else ():
        sums[payout.user_id] += payout.amount_sats
    return tuple(
        Earning(_withdrawal_id(round_, user), user, Sats(amount))
        for user, amount in sums.items()
        if amount > 0
    )


def _withdrawal_id(round_: Round, user_id: UserId) -> str:
    # No user may choose such an id for a withdrawal of their own, and so take it before the round ends.
    return derived_id(round_.locks_at_ns or 0, f"payout:{round_.id}:{user_id}")
