"""Public records and explanations → proto."""

from __future__ import annotations

import hashlib

from satreel.ledger.v1 import ledger_pb2 as pb

from services.ledger.domain.explain import Explanation
from services.ledger.domain.public_record import PublicRecord
from services.ledger.domain.record_json import encode
from services.ledger.domain.workings import Step


def record(found: PublicRecord) -> pb.RoundRecord:
    """A round's record."""
    data = encode(found)
    return pb.RoundRecord(json=data.decode(), sha256=hashlib.sha256(data).hexdigest())


def explanation(told: Explanation) -> pb.PayoutExplanation:
    """What somebody got, or all did."""
    return pb.PayoutExplanation(
        round_id=told.round_id,
        state=pb.RoundState.ValueType(told.state),
        user_id=told.user_id,
        steps=[_step(step) for step in told.steps],
        total_sats=told.total_sats,
        matches=told.matches,
        mismatches=told.mismatches,
    )


def _step(step: Step) -> pb.PayoutStep:
    return pb.PayoutStep(
        what=step.what,
        formula=step.formula,
        result_sats=step.sats,
        meme_id=step.meme_id,
        user_id=step.user_id,
    )
