"""What one meme took, and how that was shared at once and with the pool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from services.ledger.domain.public_record import EntryRecord, OwnerPart
from services.ledger.domain.shares import BASIS_POINTS, Entitlement, Parameters, entitlement
from services.ledger.domain.workings import Step, Workings, total


@dataclass(frozen=True, slots=True)
class EntryAmounts:
    """The recomputed satoshis of an entry; `owners` are (user, sats)."""

    creator_id: str
    takings_sats: int
    fee_sats: int
    creator_sats: int
    owners: tuple[tuple[str, int], ...]
    pool_sats: int


def recompute_entry(workings: Workings, entry: EntryRecord, rules: Parameters) -> EntryAmounts:
    """Shows the entry's steps to its creator and its owners."""
    concerned = {entry.creator_id, *(part.owner_id for part in entry.owners)}
    _check_inputs(workings, entry, rules)
    note = partial(workings.add, concerned=concerned)
    taken = note(_takings(entry, rules), recorded=entry.takings_sats)
    due = entitlement(taken, rules)
    note(_fee(entry, due, taken, rules), recorded=entry.fee_sats)
    note(_instant(entry, due, taken, rules))
    creator = note(_creator(entry, due, rules), recorded=entry.creator_sats)
    owners = tuple(
        (part.owner_id, note(_owner(entry, part, rules), recorded=part.paid_sats)) for part in entry.owners
    )
    pool = note(_pool(entry, due, taken, (sats for _, sats in owners)), recorded=entry.pool_sats)
    return EntryAmounts(entry.creator_id, taken, due.fee_sats, creator, owners, pool)


def _check_inputs(workings: Workings, entry: EntryRecord, rules: Parameters) -> None:
    """What no entry can be, whatever its seconds were."""
    of = f"of meme {entry.meme_id}"
    under_owners = sum(part.takings_sats for part in entry.owners)
    workings.compare(f"takings {of} under all its owners", entry.takings_sats, under_owners)
    workings.compare(
        f"owners {of}", {part.owner_id for part in entry.owners}, {one.owner_id for one in entry.tenures}
    )
    most = min(entry.paid_seconds, entry.viewers * rules.scored_seconds_max)
    if not entry.viewers <= entry.scored_seconds <= most:
        workings.mismatches.append(
            f"scored seconds {of}: {entry.scored_seconds} of {entry.viewers} viewers, at most {most}"
        )


def _takings(entry: EntryRecord, rules: Parameters) -> Step:
    price = rules.second_price_sats
    formula = f"{entry.paid_seconds} s × {price} sat"
    return Step("takings", formula, entry.paid_seconds * price, entry.meme_id)


def _fee(entry: EntryRecord, due: Entitlement, taken: int, rules: Parameters) -> Step:
    formula = f"floor({taken} × {rules.platform_fee_bp} / {BASIS_POINTS})"
    return Step("platform fee", formula, due.fee_sats, entry.meme_id)


def _instant(entry: EntryRecord, due: Entitlement, taken: int, rules: Parameters) -> Step:
    return Step("instant part", _instant_formula(due, taken, rules), due.instant_sats, entry.meme_id)


def _instant_formula(due: Entitlement, taken: int, rules: Parameters) -> str:
    return f"floor(({taken} - {due.fee_sats}) × {rules.instant_bp} / {BASIS_POINTS})"


def _creator(entry: EntryRecord, due: Entitlement, rules: Parameters) -> Step:
    formula = f"floor({due.instant_sats} × {rules.creator_bp} / {BASIS_POINTS})"
    return Step("creator's part", formula, due.creator_sats, entry.meme_id, entry.creator_id)


def _owner(entry: EntryRecord, part: OwnerPart, rules: Parameters) -> Step:
    """An owner's part is a floor of what the meme took under them: fee and instant part of that alone."""
    taken = part.takings_sats
    due = entitlement(taken, rules)
    rate = f"{BASIS_POINTS - rules.creator_bp} / {BASIS_POINTS}"
    formula = (
        f"{taken} taken under this owner, fee of it {due.fee_sats}: "
        f"floor({_instant_formula(due, taken, rules)} × {rate})"
    )
    return Step("owner's part", formula, due.owner_sats, entry.meme_id, part.owner_id)


def _pool(entry: EntryRecord, due: Entitlement, taken: int, owners: Iterable[int]) -> Step:
    paid = (due.fee_sats, due.creator_sats, *owners)
    return Step("pool part", f"{taken} - ({total(paid)})", taken - sum(paid), entry.meme_id)
