"""Pages of memes, and tokens that belong to one list only."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from services.content.domain.failures import PageTokenInvalid
from services.content.domain.memes import Meme


@dataclass(frozen=True, slots=True)
class Page:
    """Some memes, and the token of those behind them; "" at the end."""

    memes: tuple[Meme, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class PageToken:
    """Writes and reads tokens of the list that `filter` describes."""

    filter: str

    def write(self, after: str) -> str:
        """The token of the page behind this key; "" for ""."""
        return base64.urlsafe_b64encode(f"{self.filter}\n{after}".encode()).decode() if after else ""

    def read(self, token: str) -> str:
        """The key that the page begins behind. Raises PageTokenInvalid."""
        if not token:
            return ""
        try:
            made_for, newline, after = base64.urlsafe_b64decode(token).decode().partition("\n")
        except (binascii.Error, ValueError) as problem:
            raise PageTokenInvalid from problem
        if made_for != self.filter or not newline or not after or "\0" in after:
            raise PageTokenInvalid
        return after
