"""Users: people known by a wallet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from mesh.caller import ADMIN
from services.identity.domain.failures import NameInvalid

UserId = NewType("UserId", str)
Address = NewType("Address", str)

# Names by which the service calls people who have not chosen one; nobody may choose such a name.
DEFAULT_NAME_PREFIX = "reel-"
# Letters are ASCII, so that no two names look alike without being alike.
_NAME = re.compile(r"[A-Za-z0-9._-][A-Za-z0-9 ._-]{1,30}[A-Za-z0-9._-]")


class Role(StrEnum):
    """What a user may do, as user tokens say it."""

    USER = "user"
    ADMIN = ADMIN


@dataclass(frozen=True, slots=True)
class User:
    """A person. `payout_proved_ns` is when the newest payout challenge that counted was issued."""

    id: UserId
    address: Address
    display_name: str
    created_ns: int
    payout_address: str = ""
    auto_payout: bool = False
    payout_proved_ns: int = 0


@dataclass(frozen=True, slots=True)
class AddressClaim:
    """Which user an address belongs to; made once, at the first log-in, and never changed."""

    address: Address
    user_id: UserId
    created_ns: int


def first_user(claim: AddressClaim) -> User:
    """The user as the first log-in makes it: the same for everyone who reads the claim."""
    return User(
        id=claim.user_id,
        address=claim.address,
        display_name=DEFAULT_NAME_PREFIX + claim.address[-6:],
        created_ns=claim.created_ns,
    )


def roles_of(user: User, admin_addresses: frozenset[str]) -> frozenset[Role]:
    """Administrators are those whose address the operator named; nothing in the store can make one."""
    return frozenset({Role.USER, Role.ADMIN} if user.address in admin_addresses else {Role.USER})


def checked_name(name: str) -> str:
    """The name if a user may choose it. Raises NameInvalid."""
    if not _NAME.fullmatch(name) or "  " in name:
        raise NameInvalid('a name has 3 to 32 letters, digits, single spaces, ".", "-" and "_"')
    if name.lower().startswith(DEFAULT_NAME_PREFIX):
        raise NameInvalid(f'names that begin with "{DEFAULT_NAME_PREFIX}" are given, not chosen')
    return name


def name_key(name: str) -> str:
    """Names with the same key count as the same name."""
    return name.lower()
