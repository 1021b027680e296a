"""All checks of one round, in their order. What rests on something that failed is left out, and said so."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.ledger.domain.json_values import RecordInvalid
from verifier.chain import (
    Asked,
    Source,
    check_anchor,
    check_block,
    check_signature,
    read_record,
    read_transaction,
)
from verifier.export import CHECKS, check_export, read_export
from verifier.findings import Findings
from verifier.payload import Payload, own_flaws, read_payload, root_flaws
from verifier.user import Proof, check_user

OF_RECORD = ("signature", "block")
OF_PAYLOAD = ("anchor", "root", "own sums")


@dataclass(frozen=True, slots=True)
class Export:
    """An exported record as it was read, and the name of its file."""

    data: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be shown besides the findings."""

    root: str = ""
    proofs: list[Proof] = field(default_factory=list)


async def verify_round(
    source: Source, asked: Asked, export: Export | None, user_id: str, findings: Findings
) -> Seen:
    """Fills the findings. Raises Unanswered, and NodeUnavailable of the source."""
    record = None if export is None else read_export(export.data, export.name)
    later = (*OF_PAYLOAD, *(CHECKS if export else ()), *(("user",) if user_id else ()))
    tx = await read_transaction(source, asked.txid, findings)
    found = read_record(tx, findings) if tx else None
    if tx is None or found is None:
        findings.leave_out("there is no record to be checked", *OF_RECORD, "payload", *later)
        return Seen()
    check_signature(found, asked, findings)
    mined = await check_block(source, tx, asked, findings)
    payload = _payload(found.payload, found.round_id, findings)
    if payload is None:
        findings.leave_out("the payload cannot be read", *later)
        return Seen()
    await check_anchor(source, payload, mined, asked, findings)
    findings.add("root", f"{payload.payouts_root} over {len(payload.payouts)} payouts", root_flaws(payload))
    findings.add("own sums", "ranking, shares, payouts and sums follow from each other", own_flaws(payload))
    if export is None or record is None:
        findings.leave_out("no --record was given", *CHECKS)
    else:
        check_export(findings, payload, export.data, record)
    proofs = check_user(findings, payload, record, user_id) if user_id else []
    return Seen(payload.payouts_root, proofs)


def _payload(data: bytes, round_id: str, findings: Findings) -> Payload | None:
    try:
        payload = read_payload(data)
    except RecordInvalid as problem:
        findings.add("payload", flaws=[problem.message])
        return None
    said = f"round {payload.number}, rules version {payload.rules.version}, {len(payload.entries)} entries"
    flaws = []
    if payload.round_id != round_id:
        flaws.append(f"it is of round {payload.round_id}, MAP says {round_id}")
    findings.add("payload", said, flaws)
    return payload
