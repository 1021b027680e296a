"""The history: what left memory. Postings and sessions by number, closed rounds by id, written once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, TypeVar

from mesh.errors import Code, Failure
from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.pages import lines_of, numbers_of, page_of, read_posting, read_session
from services.ledger.domain.public_record import PublicRecord
from services.ledger.domain.reasons import Reason
from services.ledger.domain.record_json import parse
from services.ledger.domain.sessions import SessionView
from services.ledger.domain.views import PostingView

# Pages kept at hand: about 300 kB each.
PAGES_KEPT = 64

Line = TypeVar("Line")


class Kind(StrEnum):
    """What a record of the history holds."""

    POSTINGS = "postings"
    SESSIONS = "sessions"
    ROUND = "round"


class HistoryBroken(Failure):
    """A record of the history is missing, damaged, or another than the journal makes."""

    code = Code.DATA_LOSS
    reason = Reason.HISTORY_BROKEN.name


class HistoryStore(Protocol):
    """Where the history lies: create-only records. Raises the store's failures as well."""

    async def put(self, kind: Kind, name: str, content: bytes) -> None:
        """Writes a record; one that is there already must say the same, else HistoryBroken."""
        ...

    async def get(self, kind: Kind, name: str) -> bytes | None:
        """Its content; None when it was not written. Raises HistoryBroken when it was changed."""
        ...


class MemoryHistory:
    """A history that nobody else sees."""

    def __init__(self) -> None:
        self.records: dict[tuple[Kind, str], bytes] = {}

    async def put(self, kind: Kind, name: str, content: bytes) -> None:
        """Keeps it."""
        if self.records.setdefault((kind, name), content) != content:
            raise HistoryBroken(f"{kind} {name} is in the history with other content")

    async def get(self, kind: Kind, name: str) -> bytes | None:
        """What was put."""
        return self.records.get((kind, name))


def page_name(page: int) -> str:
    """The name of a page."""
    return f"{page:012d}"


class History:
    """Reads the history, with the pages read last at hand."""

    def __init__(self, store: HistoryStore, *, pages_kept: int = PAGES_KEPT) -> None:
        self._store = store
        self._pages_kept = pages_kept
        self._pages: OrderedDict[tuple[Kind, int], list[bytes]] = OrderedDict()

    async def posting(self, number: int) -> PostingView:
        """A posting that is no longer in memory. Raises HistoryBroken."""
        return await self._line(Kind.POSTINGS, number, read_posting)

    async def session(self, number: int) -> SessionView:
        """A session that is no longer in memory. Raises HistoryBroken."""
        return await self._line(Kind.SESSIONS, number, read_session)

    async def round(self, round_id: str) -> PublicRecord | None:
        """The record of a closed round that has left memory, None: there is none. Raises HistoryBroken."""
        content = await self._store.get(Kind.ROUND, round_id)
        try:
            return None if content is None else parse(content)
        except RecordInvalid as problem:
            raise HistoryBroken(f"round/{round_id}: {problem.message}") from problem

    async def _line(self, kind: Kind, number: int, read: Callable[[bytes], Line]) -> Line:
        page = page_of(number)
        lines = await self._page(kind, page)
        return read(lines[number - numbers_of(page).start])

    async def _page(self, kind: Kind, page: int) -> list[bytes]:
        known = self._pages.get((kind, page))
        if known is not None:
            self._pages.move_to_end((kind, page))
            return known
        content = await self._store.get(kind, page_name(page))
        if content is None:
            raise HistoryBroken(f"page {page} of the {kind} is missing")
        lines = self._pages[kind, page] = lines_of(content)
        while len(self._pages) > self._pages_kept:
            self._pages.popitem(last=False)
        await asyncio.sleep(0)  # a walk over many pages leaves room for others
        return lines
