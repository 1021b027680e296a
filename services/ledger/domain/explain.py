"""Recomputes a round from its public record alone and shows each step, down to what every user got.

Formulas are those of `shares`; amounts are whole satoshis. What the record says of itself is checked on the
way: every amount in it is compared with what its inputs (seconds, quality, rules, what was carried in) make.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from services.ledger.domain.explain_entry import EntryAmounts, recompute_entry
from services.ledger.domain.explain_pool import recompute_pool
from services.ledger.domain.public_record import PublicRecord
from services.ledger.domain.rounds import Payout, RoundState
from services.ledger.domain.workings import Step, Workings, total


@dataclass(frozen=True, slots=True)
class Explanation:
    """The steps for a user (all: user_id is empty), what they come to, and where the record is wrong."""

    round_id: str
    state: RoundState
    user_id: str
    steps: tuple[Step, ...]
    total_sats: int
    mismatches: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether every recomputed amount of the round equals the recorded one."""
        return not self.mismatches


def explain(record: PublicRecord, user_id: str = "") -> Explanation:
    """Recomputes the whole round; shows the steps that concern the user, or all."""
    workings = Workings()
    entries = [recompute_entry(workings, entry, record.rules) for entry in record.entries]
    payouts = recompute_pool(workings, record, sum(entry.pool_sats for entry in entries))
    _compare_sums(workings, record, entries, payouts)
    totals = _add_totals(workings, record, entries, payouts)
    return Explanation(
        round_id=record.round_id,
        state=record.state,
        user_id=user_id,
        steps=workings.steps(user_id),
        total_sats=totals.get(user_id, 0) if user_id else sum(totals.values()),
        mismatches=tuple(workings.mismatches),
    )


def _compare_sums(
    workings: Workings, record: PublicRecord, entries: list[EntryAmounts], payouts: list[Payout]
) -> None:
    sums, takings = record.sums, sum(entry.takings_sats for entry in entries)
    owners = sum(sats for entry in entries for _, sats in entry.owners)
    workings.compare("sum of takings", sums.takings, takings)
    workings.compare("sum of fees", sums.fee, sum(entry.fee_sats for entry in entries))
    workings.compare("sum of creators' parts", sums.creators, sum(entry.creator_sats for entry in entries))
    workings.compare("sum of owners' parts", sums.owners, owners)
    workings.compare("sum paid out", sums.paid_out, sum(paid.amount_sats for paid in payouts))
    refunded = takings if record.state is RoundState.VOIDED else 0
    workings.compare("sum refunded", sums.refunded, refunded)


def _add_totals(
    workings: Workings, record: PublicRecord, entries: list[EntryAmounts], payouts: list[Payout]
) -> dict[str, int]:
    """What everyone got, by user."""
    parts: defaultdict[str, list[int]] = defaultdict(list)
    for entry in entries:
        for user_id, sats in ((entry.creator_id, entry.creator_sats), *entry.owners):
            parts[user_id].append(sats)
    for paid in payouts:
        parts[paid.user_id].append(paid.amount_sats)
    voided = record.state is RoundState.VOIDED
    totals = {}
    for user_id, amounts in sorted(parts.items()):
        formula = f"the round was voided: {total(amounts)} taken back" if voided else total(amounts)
        step = Step("all together", formula, 0 if voided else sum(amounts), user_id=user_id)
        totals[user_id] = workings.add(step, {user_id})
    return totals
