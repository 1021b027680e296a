"""Cursors of news as clients see them: where to go on, by any gateway."""

from __future__ import annotations

import base64
from typing import Annotated, TypeAlias

import orjson

from graphql_gateway.arguments import about
from graphql_gateway.connections import BadCursor

AfterNews: TypeAlias = Annotated[
    str | None,
    about(
        "Goes on behind the event with this cursor, so that nothing is missed between two connections. What "
        "is not known any more ends with NEWS_LOST. Give it as a variable."
    ),
]
CURSOR = "Its place among the news: give it as `after` to go on behind it."


def encode(feed: str, cursor: str) -> str:
    """A cursor of this feed for clients."""
    return base64.urlsafe_b64encode(orjson.dumps([feed, cursor])).decode()


def decode(feed: str, text: str | None) -> str | None:
    """What `encode` made for this feed. Raises BadCursor."""
    if text is None:
        return None
    try:
        match orjson.loads(base64.b64decode(text, altchars=b"-_", validate=True)):
            case [str(of), str(cursor)] if of == feed and 0 < len(cursor) <= CURSOR_CHARS_MAX:
                return cursor
    except ValueError:
        raise BadCursor(_FOREIGN) from None
    raise BadCursor(_FOREIGN)


# As the contracts have it.
CURSOR_CHARS_MAX = 128
_FOREIGN = "The cursor was not made by this subscription."
