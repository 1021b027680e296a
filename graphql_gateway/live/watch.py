"""One watch stream per service and process: resumed by its cursor, shared by all local subscribers."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Generic, NamedTuple, Self, TypeVar

from google.protobuf.message import Message

from graphql_gateway.live.backlog import Backlog
from mesh import logs
from mesh.clock import Clock
from mesh.errors import Exhausted, Failure
from mesh.feeds import apart

log = logs.logger(__name__)

# To wait for a turn, and be told by the service what came behind a cursor; so many ask at a time.
FETCH_S = 10.0
FETCHES_MAX = 8
# Events that a watch keeps for those who come back with a cursor.
KEPT_MAX = 1_000
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0
# A service says every five seconds at least that it is there.
SILENCE_MAX_S = 12.0

# A response of any Watch call: a cursor and one of heartbeat, snapshot and event.
N = TypeVar("N", bound=Message)


class NewsLost(Exhausted):
    """Some news were lost on the way here; subscribe again and read anew what you follow."""

    reason = "NEWS_LOST"


class Kept(NamedTuple, Generic[N]):
    """A snapshot or an event, and its place among all that came."""

    news: N
    position: int


class Happened(NamedTuple):
    """An event, for who follows no state."""

    event: Any
    cursor: str
    position: int
    # Nothing came after it yet.
    is_newest: bool
    # It came before who hears it now, who goes on behind a cursor.
    is_past: bool = False


class News(Generic[N]):
    """One subscriber's news. Iterating raises FellBehind once too many wait, after those that were kept."""

    def __init__(self, subject_of: Callable[[Any], Hashable] | None = None) -> None:
        self._waiting: Backlog[Kept[N]] = Backlog()
        self._subject_of: Callable[[Any], Hashable] | None = subject_of
        self._came = asyncio.Event()
        # Of the news given last.
        self.position = 0

    @property
    def are_all_taken(self) -> bool:
        """Whether none waits."""
        return not self._waiting

    def offer(self, kept: Kept[N]) -> None:
        """Keeps the news for the subscriber, if there is room and nothing was lost before."""
        self._waiting.put(kept, self._subject(kept.news) if self._subject_of else None)
        self._came.set()

    def _subject(self, news: Any) -> Hashable:
        is_event = news.WhichOneof("news") == "event"
        return self._subject_of(news.event) if is_event and self._subject_of else "snapshot"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> N:
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        news, self.position = self._waiting.take()
        return news


class Watch(Generic[N]):
    """Follows one service's news for ever and hands them to subscribers.

    `topics_of` says what an event is about: who subscribes to one topic is woken by its events alone, so
    thousands of them cost nothing while others' news come. `heed` is told everything before anybody else.
    The newest `keeps` events are kept for those who come back with a cursor.
    """

    def __init__(
        self,
        name: str,
        open_stream: Callable[[str], Any],
        clock: Clock,
        topics_of: Callable[[Any], Iterable[str]] = lambda _: (),
        heed: Callable[[Any], object] = lambda _: None,
        *,
        keeps: int = 0,
    ) -> None:
        self.name = name
        self._open = open_stream
        self._clock = clock
        self._cursor = ""
        self._live = asyncio.Event()
        self._topics_of: Callable[[Any], Iterable[str]] = topics_of
        self._heed: Callable[[Any], object] = heed
        # How many news came.
        self.position = 0
        # The newest events without a gap, the oldest first, and the cursor before them.
        self._kept: deque[Kept[N]] = deque()
        self._keeps = keeps
        self._fetching = asyncio.Semaphore(FETCHES_MAX)
        self._kept_after = ""
        self._live_until_s = -math.inf
        # By topic; None: all news.
        self._subscribers: defaultdict[str | None, set[News[N]]] = defaultdict(set)

    @property
    def is_live(self) -> bool:
        """Whether all news reach us: the stream runs, and was heard lately."""
        return self._clock.monotonic_s() < self._live_until_s

    @property
    def version(self) -> int | None:
        """Another one after any news; None while news may be missed."""
        return self.position if self.is_live else None

    @property
    def subscribers(self) -> int:
        """How many follow now."""
        return sum(map(len, self._subscribers.values()))

    async def run(self) -> None:
        """Reads the stream, resuming after every break. Never returns."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                async for news in self._open(self._cursor):
                    wait_s = RETRY_FIRST_S
                    self._take(news)
            except Failure as problem:
                log.warning("a watch stream broke", stream=self.name, problem=str(problem), retry_s=wait_s)
            self._live_until_s = -math.inf
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_LAST_S)

    def _take(self, news: Any) -> None:
        self._cursor = news.cursor or self._cursor
        if news.WhichOneof("news") != "heartbeat":
            self.position += 1
            self._heed(news)
        self._live_until_s = self._clock.monotonic_s() + SILENCE_MAX_S
        kept = Kept(news, self.position)
        self._keep(kept)
        for topic in self._concerned(news):
            for subscriber in self._subscribers[topic]:
                subscriber.offer(kept)
        self._live.set()

    def _keep(self, kept: Kept[N]) -> None:
        news: Any = kept.news
        match news.WhichOneof("news"):
            case "snapshot":
                self._kept.clear()
                self._kept_after = news.cursor
            case "event" if self._keeps:
                self._kept.append(kept)
                if len(self._kept) > self._keeps:
                    oldest: Any = self._kept.popleft().news
                    self._kept_after = oldest.cursor

    def _behind(self, cursor: str) -> list[N] | None:
        """What came behind a cursor; None: it is not known here."""
        found: list[N] = []
        for kept in reversed(self._kept):
            news: Any = kept.news
            if news.cursor == cursor:
                return found[::-1]
            found.append(news)
        return found[::-1] if cursor == self._kept_after else None

    async def _fetched(self, cursor: str) -> list[N]:
        """What the service has behind a cursor, to where we are. Raises NewsLost, RemoteFailure."""
        found: list[N] = []
        here = self._cursor
        if apart(cursor, here) > KEPT_MAX:
            # The service would tell a thousand for nothing, to whoever sends old cursors.
            raise NewsLost
        try:
            async with (
                asyncio.timeout(FETCH_S),
                self._fetching,
                aclosing(aiter(self._open(cursor))) as stream,
            ):
                async for news in stream:
                    if news.WhichOneof("news") == "snapshot" or len(found) >= KEPT_MAX:
                        break
                    if news.WhichOneof("news") == "event":
                        found.append(news)
                    if news.cursor == here:
                        return found
        except TimeoutError:
            pass
        raise NewsLost

    def _concerned(self, news: Any) -> set[str | None]:
        """Topics that have subscribers whom the news concern."""
        match news.WhichOneof("news"):
            case "heartbeat":
                return set()
            case "snapshot":
                return set(self._subscribers)
        return self._subscribers.keys() & {None, *self._topics_of(news.event)}

    @contextmanager
    def subscribe(
        self, topic: str | None = None, *, newest_of: Callable[[Any], Hashable] | None = None
    ) -> Iterator[News[N]]:
        """News from now on, of one topic or all: subscribe first, then read what is, and nothing is missed.

        A snapshot among them says that the state may have changed without an event. `newest_of` gives the
        subject of an event that tells a state: of those that wait, only each subject's newest is told.
        """
        news: News[N] = News(newest_of)
        news.position = self.position
        self._subscribers[topic].add(news)
        try:
            yield news
        finally:
            self._subscribers[topic].discard(news)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    async def events(self, after: str | None = None) -> AsyncGenerator[Happened, None]:
        """Events from now on, or behind the cursor `after`, for those who follow no state.

        Raises FellBehind, NewsLost; RemoteFailure when the service cannot tell what came behind the cursor.
        """
        # The first snapshot only says that the stream begins.
        await self._live.wait()
        with self.subscribe() as news:
            one: Any
            if after is not None:
                here = self.position
                missed = self._behind(after)
                if missed is None:
                    missed = await self._fetched(after)
                for number, one in enumerate(missed, 1):
                    is_newest = number == len(missed) and news.are_all_taken
                    yield Happened(one.event, one.cursor, here, is_newest, is_past=True)
            async for one in news:
                if one.WhichOneof("news") == "snapshot":
                    raise NewsLost
                yield Happened(one.event, one.cursor, news.position, news.are_all_taken)
