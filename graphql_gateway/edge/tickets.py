"""Film tickets: an address of the film that works only while a paid viewing runs.

A ticket is "<session id>.<meme id>.<HMAC-SHA-256, base64url>"; browsers can put it into a <video> element,
which sends no Authorization header. It gives nothing by itself: each request asks the ledger whether the
viewing still runs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from pydantic import SecretStr


class Tickets:
    """Makes and checks tickets with one key."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key.get_secret_value().encode() or secrets.token_bytes(32)

    def film_url(self, session_id: str, meme_id: str) -> str:
        """Path of the film on this gateway, for one viewing."""
        return f"/media/{meme_id}/film?ticket={session_id}.{meme_id}.{self._seal(session_id, meme_id)}"

    def session_of(self, ticket: str, meme_id: str) -> str | None:
        """The viewing a ticket was made for; None when it is not ours or for another film."""
        session_id, _, rest = ticket.partition(".")
        ticket_meme_id, _, seal = rest.partition(".")
        genuine = hmac.compare_digest(seal.encode(), self._seal(session_id, ticket_meme_id).encode())
        return session_id if genuine and ticket_meme_id == meme_id else None

    def _seal(self, session_id: str, meme_id: str) -> str:
        mac = hmac.new(self._key, f"film:{session_id}:{meme_id}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")
