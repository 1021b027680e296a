"""Page tokens of lists (google.aip.dev/158): where one goes on, bound to what it lists."""

from __future__ import annotations

import base64
import binascii
import hashlib

from mesh.errors import InvalidArgument

_SCOPE_BYTES = 6


class PageTokenInvalid(InvalidArgument):
    """The page token was not made by this list."""

    reason = "PAGE_TOKEN_INVALID"


def page_token(scope: str, after: str) -> str:
    """A token for the page behind the key `after` of the list that `scope` describes, or "" for none."""
    return after and base64.urlsafe_b64encode(_digest(scope) + after.encode()).decode()


def read_page_token(scope: str, token: str) -> str:
    """The key behind which the page begins; "" for the first. Raises PageTokenInvalid."""
    if not token:
        return ""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        after = raw[_SCOPE_BYTES:].decode("ascii")
    except (binascii.Error, ValueError) as problem:
        raise PageTokenInvalid from problem
    if raw[:_SCOPE_BYTES] != _digest(scope) or not after or "\0" in after:
        raise PageTokenInvalid
    return after


def _digest(scope: str) -> bytes:
    return hashlib.sha256(scope.encode()).digest()[:_SCOPE_BYTES]
