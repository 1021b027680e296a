"""A feed of events: a subscriber gets what follows its cursor, or is told that something is missing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from mesh.errors import Unavailable
from mesh.feeds.outgoing import Outgoing
from mesh.feeds.stream import AWAY, LENGTH_MAX, Entry, Position, Stream, open_stream
from mesh.logs import logger

# Events, and their bytes, a subscriber may lag behind before it is cut off.
SUBSCRIBER_QUEUE_MAX = 1_000
SUBSCRIBER_BYTES_MAX = 64_000_000
HEARTBEAT_S = 5.0
# Between two sends, so that what is published meanwhile goes together; a lone event goes at once.
SEND_PAUSE_S = 0.005
# With no subscriber the stream is not read; its place is looked up so often.
IDLE_S = 0.5
OPEN_WAIT_S = 1.0
CLOSE_WAIT_S = 1.0
RETRY_S_MIN, RETRY_S_MAX = 0.05, 2.0

log = logger(__name__)


class CursorExpired(Exception):  # noqa: N818 - an answer, not a fault
    """Something behind this cursor was trimmed, lost, or came too fast to be taken: start from a snapshot."""


class FeedAway(Unavailable):
    """The feed cannot be read: Redis is away."""

    reason = "FEED_AWAY"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was published; its cursor is where to go on behind it."""

    cursor: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new for a while; the cursor is as good as the newest event's."""

    cursor: str


class _Subscriber:
    def __init__(self, topics: frozenset[str] | None) -> None:
        self.topics = topics
        self.waiting: deque[Entry] = deque()
        self._bytes = 0
        self.woken = asyncio.Event()
        self.expired = False

    def offer(self, entry: Entry) -> None:
        if self.wants(entry) and not self.expired:
            self.waiting.append(entry)
            self._bytes += len(entry.payload)
            self.woken.set()
            if len(self.waiting) > SUBSCRIBER_QUEUE_MAX or self._bytes > SUBSCRIBER_BYTES_MAX:
                self.expire()

    def expire(self) -> None:
        self.expired = True
        self.waiting.clear()
        self.woken.set()

    def wants(self, entry: Entry) -> bool:
        return self.topics is None or entry.topic in self.topics

    async def next_within(self, timeout_s: float) -> Entry | None:
        """The next entry; None when the queue stayed empty, and is empty now. Raises CursorExpired."""
        if not self.waiting and not self.expired:
            self.woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.woken.wait()
        if self.expired:
            raise CursorExpired
        if not self.waiting:
            return None
        entry = self.waiting.popleft()
        self._bytes -= len(entry.payload)
        return entry


class Feed:
    """One feed in this process, made by `open_feed`: one reader of the stream, shared by all subscribers."""

    def __init__(self, name: str, stream: Stream) -> None:
        self._name = name
        self._stream = stream
        self._position: Position | None = None
        self._live = asyncio.Event()
        self._subscribers: set[_Subscriber] = set()
        self._wanted = asyncio.Event()
        self._outgoing = Outgoing()
        self._to_send = asyncio.Event()

    def publish(self, payload: bytes, *, topic: str = "") -> None:
        """Sends an event soon; never waits, never fails. With Redis away the newest are kept."""
        self._outgoing.add(topic, payload)
        self._to_send.set()

    @property
    def cursor(self) -> str:
        """Where the feed is now: take it before the snapshot that it belongs to. Raises FeedAway."""
        return str(self._here())

    async def wait_live(self, timeout_s: float) -> bool:
        """Whether the feed can be read, at the latest after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._live.wait()
        return self._live.is_set()

    async def subscribe(
        self, cursor: str, *, topics: Collection[str] | None = None, heartbeat_s: float = HEARTBEAT_S
    ) -> AsyncGenerator[Event | Heartbeat, None]:
        """What follows the cursor, of these topics (None: all); a heartbeat when nothing came for long.

        Raises CursorExpired, at once or later, when something would be missing; FeedAway without Redis.
        """
        if _number(cursor, self._here().epoch) > self._here().number:
            # From a process that is ahead of this one, or from a Redis that has lost its newest events since.
            await self._require(cursor)
        with self._subscribed(topics) as subscriber:
            here = self._here()  # with no await since: the subscriber is offered whatever follows
            after = _number(cursor, here.epoch)
            async for entry in self._backlog(subscriber, after, here.number):
                after = entry.number
                if subscriber.wants(entry):
                    yield Event(f"{here.epoch}.{after}", entry.payload)
            while True:
                next_entry = await subscriber.next_within(heartbeat_s)
                if next_entry is None:
                    after = max(after, self._here().number)
                    yield Heartbeat(f"{here.epoch}.{after}")
                elif next_entry.number > after:
                    after = next_entry.number
                    yield Event(f"{here.epoch}.{after}", next_entry.payload)

    def _here(self) -> Position:
        if self._position is None or not self._live.is_set():
            raise FeedAway
        return self._position

    async def _require(self, cursor: str) -> None:
        try:
            newest = await self._stream.position()
        except AWAY as problem:
            raise FeedAway from problem
        if _number(cursor, newest.epoch) > newest.number:
            raise CursorExpired

    @contextmanager
    def _subscribed(self, topics: Collection[str] | None) -> Iterator[_Subscriber]:
        subscriber = _Subscriber(None if topics is None else frozenset(topics))
        self._subscribers.add(subscriber)
        self._wanted.set()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            if not self._subscribers:
                self._wanted.clear()

    async def _backlog(self, subscriber: _Subscriber, after: int, last: int) -> AsyncIterator[Entry]:
        while after < last:
            try:
                page = await self._stream.between(after, last)
            except AWAY as problem:
                raise FeedAway from problem
            if not page or subscriber.expired:
                raise CursorExpired
            for entry in page:
                if entry.number != after + 1:
                    raise CursorExpired
                after = entry.number
                yield entry

    def _expire_all(self) -> None:
        for subscriber in self._subscribers:
            subscriber.expire()

    async def _read(self) -> None:
        pause_s = RETRY_S_MIN
        while True:
            try:
                await self._find_position()
                while True:
                    await (self._read_once() if self._subscribers else self._keep_place())
                    pause_s = RETRY_S_MIN
            except AWAY as problem:
                if self._live.is_set():
                    log.warning("feed away", feed=self._name, problem=repr(problem))
                self._live.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    async def _keep_place(self) -> None:
        """Nobody listens: what was published is skipped, until somebody does."""
        newest = await self._stream.position()
        if not self._subscribers:
            self._position = newest
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wanted.wait()

    async def _find_position(self) -> None:
        """Goes on from where we were, unless Redis lost that place."""
        newest = await self._stream.position()
        before = self._position
        if before is None or before.epoch != newest.epoch or before.number > newest.number:
            self._expire_all()
            self._position = newest
        if not self._live.is_set():
            log.info("feed can be read", feed=self._name, position=str(self._position))
            self._live.set()

    async def _read_once(self) -> None:
        here = self._here()
        entries = await self._stream.read(here.number)
        if not entries or entries[0].number != here.number + 1:
            # Silence, or something is missing: see whether this is still the feed we know.
            await self._find_position()
            here = self._here()
        number = here.number
        for entry in entries:
            if entry.number <= number:
                continue
            if entry.number != number + 1:
                self._expire_all()
            number = entry.number
            self._position = Position(here.epoch, number)
            for subscriber in self._subscribers:
                subscriber.offer(entry)

    async def _send(self) -> None:
        pause_s = RETRY_S_MIN
        while True:
            await self._to_send.wait()
            try:
                await self._send_all()
                pause_s = RETRY_S_MIN
                await asyncio.sleep(SEND_PAUSE_S)
            except AWAY as problem:
                if pause_s == RETRY_S_MIN:
                    log.warning("events wait for their feed", feed=self._name, problem=repr(problem))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)

    async def _send_all(self) -> None:
        while self._outgoing:
            events, after_loss = self._outgoing.take()
            try:
                await self._stream.append(events, after_loss=after_loss)
            except BaseException:
                self._outgoing.put_back(events)
                raise
        self._to_send.clear()

    def tasks(self) -> tuple[Coroutine[None, None, None], Coroutine[None, None, None]]:
        """What runs while the feed is open, for `open_feed`."""
        return self._read(), self._send()

    async def flush(self) -> None:
        """Sends what still waits, for CLOSE_WAIT_S at most."""
        with suppress(*AWAY):
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._send_all()
        if self._outgoing:
            log.warning("events not sent", feed=self._name, events=len(self._outgoing))


@asynccontextmanager
async def open_feed(redis_url: str, name: str, *, length_max: int = LENGTH_MAX) -> AsyncIterator[Feed]:
    """The feed of this name, which all processes on this Redis share. Does not fail when Redis is away."""
    async with open_stream(redis_url, name, length_max) as stream:
        feed = Feed(name, stream)
        tasks = [asyncio.create_task(work) for work in feed.tasks()]
        try:
            await feed.wait_live(OPEN_WAIT_S)
            yield feed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await feed.flush()


def _number(cursor: str, epoch: str) -> int:
    cursor_epoch, _, number = cursor.partition(".")
    if cursor_epoch != epoch or not number.isdecimal():
        raise CursorExpired
    return int(number)


def apart(cursor: str, later: str) -> int:
    """How many events lie behind one cursor until another; 0 when they are not of the same feed's epoch."""
    epoch = later.partition(".")[0]
    try:
        return _number(later, epoch) - _number(cursor, epoch)
    except CursorExpired:
        return 0
