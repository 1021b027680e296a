"""One watch stream per service and process: resumed by its cursor, shared by all local subscribers."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from graphql_gateway.live.answers import Answers
from mesh import logs
from mesh.clock import Clock
from mesh.errors import Exhausted, Failure

log = logs.logger(__name__)

BACKLOG_MAX = 256
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0
# A service says every five seconds at least that it is there.
SILENCE_MAX_S = 12.0

# A response of any Watch call: a cursor and one of heartbeat, snapshot and event.
N = TypeVar("N", bound=Message)


class FellBehind(Exhausted):
    """The subscriber does not read as fast as news come; subscribe again."""

    reason = "FELL_BEHIND"


class NewsLost(Exhausted):
    """Some news were lost on the way here; subscribe again and read anew what you follow."""

    reason = "NEWS_LOST"


class News(Generic[N]):
    """One subscriber's news. Iterating raises FellBehind once too many wait, after those that were kept."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[N, Answers]] = asyncio.Queue(BACKLOG_MAX)
        # To the news given last, shared by all who follow.
        self.answers = Answers()
        self._overrun = False

    def offer(self, news: N, answers: Answers) -> None:
        """Keeps the news for the subscriber, if there is room and nothing was lost before."""
        if self._overrun or self._waiting.full():
            self._overrun = True
        else:
            self._waiting.put_nowait((news, answers))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> N:
        if self._overrun and self._waiting.empty():
            raise FellBehind
        news, self.answers = await self._waiting.get()
        return news


class Watch(Generic[N]):
    """Follows one service's news for ever and hands them to subscribers.

    `topics_of` says what an event is about: who subscribes to one topic is woken by its events alone, so
    thousands of them cost nothing while others' news come. `heed` is told everything before anybody else.
    """

    def __init__(
        self,
        name: str,
        open_stream: Callable[[str], Any],
        clock: Clock,
        topics_of: Callable[[Any], Iterable[str]] = lambda _: (),
        heed: Callable[[Any], object] = lambda _: None,
    ) -> None:
        self.name = name
        self._open = open_stream
        self._clock = clock
        self._cursor = ""
        self._live = asyncio.Event()
        self._topics_of: Callable[[Any], Iterable[str]] = topics_of
        self._heed: Callable[[Any], object] = heed
        self._moves = 0
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
        return self._moves if self.is_live else None

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
            self._moves += 1
            self._heed(news)
        self._live_until_s = self._clock.monotonic_s() + SILENCE_MAX_S
        answers = Answers()
        for topic in self._concerned(news):
            for subscriber in self._subscribers[topic]:
                subscriber.offer(news, answers)
        self._live.set()

    def _concerned(self, news: Any) -> set[str | None]:
        """Topics that have subscribers whom the news concern."""
        match news.WhichOneof("news"):
            case "heartbeat":
                return set()
            case "snapshot":
                return set(self._subscribers)
        return self._subscribers.keys() & {None, *self._topics_of(news.event)}

    @contextmanager
    def subscribe(self, topic: str | None = None) -> Iterator[News[N]]:
        """News from now on, of one topic or all: subscribe first, then read what is, and nothing is missed.

        A snapshot among them says that the state may have changed without an event.
        """
        news: News[N] = News()
        self._subscribers[topic].add(news)
        try:
            yield news
        finally:
            self._subscribers[topic].discard(news)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    async def events(self) -> AsyncGenerator[tuple[Any, Answers], None]:
        """Events and the answers to them, for those who follow no state. Raises FellBehind, NewsLost."""
        # The first snapshot only says that the stream begins.
        await self._live.wait()
        with self.subscribe() as news:
            one: Any
            async for one in news:
                if one.WhichOneof("news") == "snapshot":
                    raise NewsLost
                yield one.event, news.answers
