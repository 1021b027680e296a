"""What an answer of a service costs a client: the values in it, from the contract.

As operations of GraphQL are counted: a value is 1, a call 25, and lists are as long as they may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh.contracts import MethodContract, descriptor

CALL = 25
# Of a list for which nobody says how long it may be: what a `page_size` of 0 stands for in all contracts.
ITEMS = 50
_SIZES = ("page_size", "limit")


class Cost(NamedTuple):
    """`once` whatever is asked for, and `each` for every item of lists.

    `size` is the request's field that says how many, or `keys` the one with one value for each; None: ITEMS.
    """

    once: int
    each: int
    size: FieldDescriptor | None
    keys: FieldDescriptor | None

    def of(self, items: int) -> int:
        """With so many items."""
        return self.once + self.each * items


def cost_of(method: MethodContract) -> Cost:
    """Of one call."""
    described = descriptor(method)
    once, each = _values(described.output_type, ())
    fields: Sequence[FieldDescriptor] = described.input_type.fields
    size = next((field for field in fields if field.name in _SIZES), None)
    keys = next((field for field in fields if field.is_repeated), None) if size is None else None
    return Cost(CALL + once, each, size, keys)


def _values(message: Descriptor, within: tuple[str, ...]) -> tuple[int, int]:
    """Those that are there once, and those in each item of a list; items of lists in lists count likewise."""
    once = each = 0
    for field in message.fields:
        own, nested = _of_field(field, (*within, message.full_name))
        once, each = (once, each + own + nested) if field.is_repeated else (once + own, each + nested)
    return once, each


def _of_field(field: FieldDescriptor, within: tuple[str, ...]) -> tuple[int, int]:
    inner = field.message_type
    if inner is None or inner.full_name in within or inner.full_name.startswith("google.protobuf."):
        return 1, 0
    return _values(inner, within)
