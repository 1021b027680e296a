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
    violations = protovalidate.collect_violations(message)
    if violations:
        raise InvalidArgument(
            "; ".join(_read(violation).description for violation in violations[:3]),
            violations=[_read(violation) for violation in violations[:VIOLATIONS_MAX]],
        )


def warm(request_types: list[Descriptor]) -> None:
    """Compiles the rules of these messages now rather than in somebody's call."""
    for request_type in request_types:
        protovalidate.collect_violations(GetMessageClass(request_type)())


def _read(violation: protovalidate.Violation) -> FieldViolation:
    path = (
        ".".join(str(element.field_name) for element in violation.proto.field.elements)
        if violation.proto.field
        else ""
    )
    rule = violation.proto
    return FieldViolation(path, f"{path}: {rule.message or rule.rule_id}")
