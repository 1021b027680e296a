"""Ids in the schema: objects have Relay's global ids; arguments take those or the bare UUID."""

from __future__ import annotations

import re
from binascii import b2a_base64

from strawberry import relay

from mesh.errors import InvalidArgument
from mesh.ids import uuid7

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_MAX = 64


class BadId(InvalidArgument):
    """Not an id of the kind that is asked for."""

    reason = "BAD_ID"


def split_id(value: str) -> tuple[str, str]:
    """The type's name and the UUID of a global id. Raises BadId."""
    try:
        type_name, bare = relay.from_base64(value)
    except ValueError:
        raise BadId(f"{value[:_SHOWN_MAX]!r} is not an id") from None
    if not _UUID.fullmatch(bare):
        raise BadId(f"{value[:_SHOWN_MAX]!r} is not an id")
    return type_name, bare


def global_id(type_name: str, bare: str) -> str:
    """The global id of an object, as Relay's `Node.id` shows it."""
    return b2a_base64(f"{type_name}:{bare}".encode(), newline=False).decode()


def bare_id(type_name: str, value: str) -> str:
    """The UUID behind a global id of `type_name`, or the UUID itself. Raises BadId."""
    if _UUID.fullmatch(value):
        return value
    found, bare = split_id(value)
    if found != type_name:
        raise BadId(f"this is the id of a {found[:_SHOWN_MAX]}, not of a {type_name}", expected=type_name)
    return bare


def new_or_given(type_name: str, value: str | None) -> str:
    """The id that the client made for what it creates, or a new one. Raises BadId."""
    return bare_id(type_name, value) if value else uuid7()
