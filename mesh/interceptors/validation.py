"""Input rules: every request message is held against the `buf.validate` rules of its contract."""

from __future__ import annotations

import protovalidate
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mesh.errors import FieldViolation, InvalidArgument

VIOLATIONS_MAX = 20


def validated(message: Message) -> None:
    """Raises InvalidArgument with the fields that break a rule."""
    found = protovalidate.collect_violations(message)
    if found:
        violations = [_read(violation) for violation in found[:VIOLATIONS_MAX]]
        told = "; ".join(f"{field}: {description}" for field, description in violations[:3])
        raise InvalidArgument(told, violations=violations)


def warm(request_types: list[Descriptor]) -> None:
    """Compiles the rules of these messages now rather than in somebody's call."""
    for request_type in request_types:
        protovalidate.collect_violations(GetMessageClass(request_type)())


def _read(violation: protovalidate.Violation) -> FieldViolation:
    rule = violation.proto
    steps = rule.field.elements if rule.field else ()
    path = ".".join(
        f"{step.field_name}[{step.subscript.value}]" if step.subscript else f"{step.field_name}"
        for step in steps
    )
    return FieldViolation(path, rule.message or rule.rule_id or "breaks a rule")
