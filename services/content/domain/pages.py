"""Pages of memes."""

from __future__ import annotations

from dataclasses import dataclass

from services.content.domain.memes import Meme


@dataclass(frozen=True, slots=True)
class Page:
    """Some memes, and the token of those behind them; "" at the end."""

    memes: tuple[Meme, ...]
    next_token: str
