"""Findings as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verifier.findings import FLAWS_SHOWN_MAX, Check, Findings
from verifier.user import Proof

_NAME_WIDTH = 14


def report(findings: Findings, proofs: Sequence[Proof], root: str) -> str:
    """A line for each check, what does not fit below it, proofs, and the verdict."""
    lines = [line for check in findings.checks for line in _lines(check)]
    lines += [f"  --    {name:<{_NAME_WIDTH}} not checked: {why}" for name, why in findings.left_out]
    for proof in proofs:
        lines += _proof(proof, root)
    wrong = sum(1 for check in findings.checks if check.flaws)
    held = len(findings.checks) - wrong
    verdict = f"{held} checks hold" if findings.hold else f"{wrong} checks do NOT hold, {held} do"
    rest = f", {len(findings.left_out)} were not made" if findings.left_out else ""
    return "\n".join([*lines, verdict + rest]) + "\n"


def _lines(check: Check) -> Iterator[str]:
    mark = "WRONG" if check.flaws else "ok"
    first, *others = check.flaws or (check.said,)
    yield f"  {mark:<5} {check.name:<{_NAME_WIDTH}} {first}"
    for other in others[: FLAWS_SHOWN_MAX - 1]:
        yield f"  {'':<5} {'':<{_NAME_WIDTH}} {other}"
    if len(others) >= FLAWS_SHOWN_MAX:
        yield f"  {'':<5} {'':<{_NAME_WIDTH}} and {len(others) - FLAWS_SHOWN_MAX + 1} more"


def _proof(proof: Proof, root: str) -> Iterator[str]:
    yield ""
    yield f"  proof of the payout {proof.leaf}"
    yield f"    leaf {proof.index} of {proof.size}, under the root {root}"
    yield from (f"    beside it {node}" for node in proof.path)
    yield ""
