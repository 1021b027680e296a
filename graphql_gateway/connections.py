"""Relay connections over the page tokens of the services.

A cursor names a page token, an item behind it and that item's place, so every edge has one. New items at the
head of a list do not shift what follows a cursor: the item is looked for, not its place.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
import strawberry
from google.protobuf.message import Message

from graphql_gateway.safety.declared import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from mesh.errors import InvalidArgument

T = TypeVar("T")

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
    count: strawberry.Private[int]
    cursor_at: strawberry.Private[Callable[[int], str]]

    @strawberry.field(description="Cursor of the first edge.")
    def start_cursor(self) -> str | None:
        """None on an empty page."""
        return self.cursor_at(0) if self.count else None

    @strawberry.field(description="Cursor of the last edge: the next page's `after`.")
    def end_cursor(self) -> str | None:
        """None on an empty page."""
        return self.cursor_at(self.count - 1) if self.count else None


@strawberry.type(description="An item and its place in the list.")
class Edge(Generic[T]):
    """One item of a connection."""

    node: T = strawberry.field(description="The item.")
    cursor: str = strawberry.field(description="Its place: give it as `after` to go on behind it.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    """One page of items."""

    items: strawberry.Private[Sequence[Any]]
    # Of the item at an index: made for those that are asked for.
    cursor_at: strawberry.Private[Callable[[int], str]]

    @strawberry.field(description="The items with their places.")
    def edges(self) -> list[Edge[T]]:
        """The items, each with a cursor."""
        return [Edge(node=item, cursor=self.cursor_at(index)) for index, item in enumerate(self.items)]

    page_info: PageInfo = strawberry.field(description="Where this page lies.")

    @strawberry.field(description="The items without their places.")
    def nodes(self) -> list[T]:
        """The items alone, for clients that page by `pageInfo`."""
        return list(self.items)


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
    begin = decode_cursor(after) if after else HEAD
    page = await fetch(size + begin.place, begin.token)
    skip = _skipped(page.items, begin)
    items = page.items[skip : skip + size]
    is_whole = len(page.items) <= skip + size

    def cursor_at(index: int) -> str:
        if page.next_token and is_whole and index == len(items) - 1:
            # The service's own token goes on from here, however long the list has become.
            return encode_cursor(Cursor(page.next_token, 0, ""))
        return encode_cursor(Cursor(begin.token, skip + index + 1, key_of(items[index])))

    return Connection(
        items=items,
        cursor_at=cursor_at,
        page_info=PageInfo(
            has_next_page=bool(page.next_token) or not is_whole,
            has_previous_page=after is not None,
            count=len(items),
            cursor_at=cursor_at,
        ),
    )


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind the item with this key, last seen at this place (from 1) behind a token; 0: at the token."""

    token: str
    place: int
    key: str


HEAD = Cursor("", 0, "")


def key_of(item: Message) -> str:
    """What tells an item from the others of its list: in our contracts the first field, an id or a number."""
    first = item.DESCRIPTOR.fields_by_number[1]
    return str(getattr(item, first.name))


def _skipped(items: Sequence[Any], begin: Cursor) -> int:
    if not begin.place:
        return 0
    for place, item in enumerate(items, 1):
        if key_of(item) == begin.key:
            return place
    raise BadCursor("The item with this cursor is no longer near its place: start again without `after`.")


def encode_cursor(cursor: Cursor) -> str:
    """A cursor as clients see it."""
    return base64.urlsafe_b64encode(orjson.dumps([cursor.token, cursor.place, cursor.key])).decode()


def decode_cursor(text: str) -> Cursor:
    """What `encode_cursor` made. Raises BadCursor."""
    try:
        match orjson.loads(base64.b64decode(text, altchars=b"-_", validate=True)):
            case [str(token), int(place), str(key)] if 0 <= place <= _SERVICE_PAGE_MAX - PAGE_SIZE_MAX:
                return Cursor(token, place, key)
    except ValueError:
        raise BadCursor from None
    raise BadCursor
