"""Recomputed amounts, written down step by step and compared with what is on record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Decimal places that an amount with a fraction is shown with; it is computed exactly.
PLACES = 6


@dataclass(frozen=True, slots=True)
class Step:
    """What was computed, how, and the satoshis it makes (None: the formula says it all)."""

    what: str
    formula: str
    sats: int | None = None
    meme_id: str = ""
    # Whose satoshis these are; empty: nobody's yet.
    user_id: str = ""


class Workings:
    """The steps so far, whom each concerns, and where the record says something else."""

    def __init__(self) -> None:
        self.mismatches: list[str] = []
        self._steps: list[tuple[Step, frozenset[str]]] = []

    def add(self, step: Step, concerned: Iterable[str] = (), *, recorded: int | None = None) -> int:
        """Notes a step, compares its satoshis with those on record, and returns them.

        `concerned` are the users it is shown to; nobody named: it is shown to all.
        """
        self._steps.append((step, frozenset(concerned)))
        sats = step.sats or 0
        if recorded is not None:
            about = " of ".join(filter(None, (step.what, step.meme_id and f"meme {step.meme_id}")))
            for_user = f" for user {step.user_id}" if step.user_id else ""
            self.compare(about + for_user, recorded, sats)
        return sats

    def compare(self, what: str, recorded: object, recomputed: object) -> None:
        """Notes a mismatch when the two differ."""
        if recorded != recomputed:
            self.mismatches.append(f"{what}: recorded {recorded}, recomputed {recomputed}")

    def steps(self, user_id: str = "") -> tuple[Step, ...]:
        """All steps, or those that concern a user."""
        return tuple(
            step for step, concerned in self._steps if not (user_id and concerned) or user_id in concerned
        )


def total(amounts: Iterable[int]) -> str:
    """A sum written out, zeros left out."""
    return " + ".join(str(amount) for amount in amounts if amount) or "0"


def decimal(numerator: int, denominator: int) -> str:
    """A fraction for people, cut off behind some places."""
    whole, rest = divmod(numerator, denominator)
    digits = f"{rest * 10**PLACES // denominator:0{PLACES}d}"
    return f"{whole}.{digits}"
