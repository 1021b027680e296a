"""An explanation as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from services.ledger.domain.explain import Explanation
from services.ledger.domain.public_record import PublicRecord
from services.ledger.domain.workings import Step

_WHAT_WIDTH = 26


def explained(record: PublicRecord, told: Explanation) -> str:
    """The steps under what they are about, then the total and the verdict."""
    lines = [f"round {record.round_id}: {record.state.name}, rules version {record.rules.version}", ""]
    for about, steps in groupby(told.steps, _about):
        lines += [about, *map(_line, steps), ""]
    whose = f"user {told.user_id}" if told.user_id else "all together"
    lines += [f"{whose}: {told.total_sats} sat", *_verdict(told)]
    return "\n".join(lines) + "\n"


def _about(step: Step) -> str:
    if step.meme_id:
        return f"meme {step.meme_id}"
    return f"user {step.user_id}" if step.user_id else "pool"


def _line(step: Step) -> str:
    result = "" if step.sats is None else f" = {step.sats} sat"
    whose = f" for user {step.user_id}" if step.user_id and step.meme_id else ""
    return f"  {step.what:<{_WHAT_WIDTH}} {step.formula}{result}{whose}"


def _verdict(told: Explanation) -> Iterator[str]:
    if told.matches:
        yield "every recomputed amount of the round equals the recorded one"
        return
    yield from (f"MISMATCH  {mismatch}" for mismatch in told.mismatches)
    yield f"the record is wrong in {len(told.mismatches)} places"
