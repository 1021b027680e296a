"""How subscriptions tell: the declared policy of each, and what is known of an event beside the event."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from graphql_gateway.edge.authentication import Viewer
from graphql_gateway.live.backlog import BACKLOG_MAX

# Key of a field's metadata.
DELIVERY = "delivery"


class Delivery(Enum):
    """What becomes of events that come faster than somebody reads. The value is told in the schema."""

    STATES = (
        "Who reads slower than it changes is told the newest state only: `extensions.conflated` of that "
        "result counts those left out."
    )
    NEWS = (
        f"Who lets more than {BACKLOG_MAX} of them wait is told those, and then the error FELL_BEHIND: "
        "subscribe again."
    )

    @property
    def metadata(self) -> dict[str, Any]:
        """Of a subscription field that many may share; its resolver says `context.telling` of each event."""
        return {DELIVERY: self}


class _Itself(Enum):
    ITSELF = 0


ITSELF: Final = _Itself.ITSELF


@dataclass(frozen=True, slots=True)
class Telling:
    """What a subscription's resolver says of the event that it yields next."""

    # Of a state: what it is the state of; a newer one takes its place while it waits.
    subject: Hashable = None
    # What is to be told first to who joins after it: the event itself, another one, or None, nothing.
    now: Any = ITSELF
    # Of the news that the event was made of, and of what `now` was made of (`Watch.position`).
    position: int = 0
    now_position: int = 0
    # Of news: nothing waits behind it, so who follows from here misses nothing.
    is_newest: bool = True
    # Of news: they came before, and are told again to who goes on behind a cursor.
    is_past: bool = False
    # Who may hear it; None: everybody who follows.
    audience: Callable[[Viewer | None], bool] | None = None
