"""Relay connections over the page tokens of the services.

A cursor names a page token and how many items after it to skip, so every edge has one, and it stays good as
long as the service's token does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import strawberry

from mesh.errors import InvalidArgument

T = TypeVar("T")

PAGE_SIZE_DEFAULT = 20
PAGE_SIZE_MAX = 100
_SERVICE_PAGE_MAX = 1_000


class BadCursor(InvalidArgument):
    """The cursor was not made by this connection."""

    reason = "BAD_CURSOR"


class BadPageSize(InvalidArgument):
    """The page size is out of bounds."""

    reason = "BAD_PAGE_SIZE"


@strawberry.type(description="Where a page lies in the whole list.")
class PageInfo:
    """Relay's page information; lists here run forward only."""

    has_next_page: bool = strawberry.field(description="Whether more follows.")
    has_previous_page: bool = strawberry.field(description="Whether this page was asked for by a cursor.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge: the next page's `after`.")


@strawberry.type(description="An item and its place in the list.")
class Edge(Generic[T]):
    """One item of a connection."""

    node: T = strawberry.field(description="The item.")
    cursor: str = strawberry.field(description="Its place: give it as `after` to go on behind it.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    """One page of items."""

    edges: list[Edge[T]] = strawberry.field(description="The items with their places.")
    page_info: PageInfo = strawberry.field(description="Where this page lies.")

    @strawberry.field(description="The items without their places.")
    def nodes(self) -> list[T]:
        """The items alone, for clients that page by `pageInfo`."""
        return [edge.node for edge in self.edges]


@dataclass(frozen=True, slots=True)
class Page:
    """What a service's list call gave."""

    items: Sequence[Any]
    next_token: str


def page_size(first: int | None) -> int:
    """The size to ask for. Raises BadPageSize."""
    size = PAGE_SIZE_DEFAULT if first is None else first
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise BadPageSize(f"`first` must be from 1 to {PAGE_SIZE_MAX}", minimum=1, maximum=PAGE_SIZE_MAX)
    return size


async def connect(
    fetch: Callable[[int, str], Awaitable[Page]], *, first: int | None, after: str | None
) -> Connection[Any]:
    """One page: `fetch(page_size, page_token)` asks the service. Raises BadCursor, BadPageSize."""
    size = page_size(first)
    token, skip = decode_cursor(after) if after else ("", 0)
    page = await fetch(size + skip, token)
    items = page.items[skip : skip + size]
    cursors = [encode_cursor(token, skip + place + 1) for place in range(len(items))]
    if cursors and page.next_token and len(page.items) <= skip + size:
        cursors[-1] = encode_cursor(page.next_token, 0)
    return Connection(
        edges=[Edge(node=item, cursor=cursor) for item, cursor in zip(items, cursors, strict=True)],
        page_info=PageInfo(
            has_next_page=bool(page.next_token) or len(page.items) > skip + size,
            has_previous_page=after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )


def encode_cursor(token: str, skip: int) -> str:
    """A cursor that skips `skip` items behind the page token."""
    return base64.urlsafe_b64encode(f"{skip}:{token}".encode()).decode()


def decode_cursor(cursor: str) -> tuple[str, int]:
    """Page token and items to skip. Raises BadCursor."""
    try:
        text = base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise BadCursor from None
    skip_text, colon, token = text.partition(":")
    if not colon or not skip_text.isdecimal() or int(skip_text) > _SERVICE_PAGE_MAX - PAGE_SIZE_MAX:
        raise BadCursor
    return token, int(skip_text)
