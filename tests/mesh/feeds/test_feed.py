from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from mesh.feeds import CursorExpired, Event, Feed, FeedAway, Heartbeat, Snapshot, open_feed, stream, watch
from mesh.feeds.feed import SUBSCRIBER_BYTES_MAX, SUBSCRIBER_QUEUE_MAX
from mesh.feeds.outgoing import BUFFER_BYTES_MAX, BUFFER_MAX, SEND_BYTES_MAX, Outgoing
from tests.conftest import ValkeyServer

SOON_S = 120.0
Updates = AsyncGenerator[Event | Heartbeat, None]


@pytest.fixture
def name() -> str:
    return f"test-{uuid4().hex}"


@asynccontextmanager
async def subscribed(feed: Feed, cursor: str, heartbeat_s: float = 5.0) -> AsyncIterator[Updates]:
    async with aclosing(feed.subscribe(cursor, heartbeat_s=heartbeat_s)) as updates:
        yield updates


async def take(updates: Updates, count: int) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(SOON_S):
        while len(events) < count:
            update = await anext(updates)
            if isinstance(update, Event):
                events.append(update)
    return events


async def next_of(updates: Updates) -> Event | Heartbeat:
    async with asyncio.timeout(SOON_S):
        return await anext(updates)


def payloads(events: list[Event]) -> list[bytes]:
    return [event.payload for event in events]


async def expired(feed: Feed, cursor: str) -> None:
    with pytest.raises(CursorExpired):
        async with subscribed(feed, cursor, heartbeat_s=0.05) as updates, asyncio.timeout(SOON_S):
            while True:
                assert isinstance(await anext(updates), Heartbeat)


async def flushed(feed: Feed, payload: bytes) -> str:
    """The cursor behind the event, once it has gone through Redis."""
    async with subscribed(feed, feed.cursor) as updates:
        feed.publish(payload)
        while (event := (await take(updates, 1))[0]).payload != payload:
            pass
        return event.cursor


async def test_events_arrive_in_order_and_a_cursor_resumes_behind_its_event(
    valkey_url: str, name: str
) -> None:
    async with open_feed(valkey_url, name) as feed:
        start = feed.cursor
        for number in range(1_500):
            feed.publish(b"%d" % number)
        async with subscribed(feed, start) as updates:
            events = await take(updates, 1_500)
        assert payloads(events) == [b"%d" % number for number in range(1_500)]
        async with subscribed(feed, events[700].cursor) as updates:
            assert payloads(await take(updates, 799)) == payloads(events[701:])


async def test_processes_share_a_feed_and_its_cursors(valkey_url: str, name: str) -> None:
    async with open_feed(valkey_url, name) as one, open_feed(valkey_url, name) as other:
        cursor = other.cursor
        behind = await flushed(one, b"a")
        one.publish(b"b")
        async with subscribed(other, cursor) as updates:
            assert payloads(await take(updates, 2)) == [b"a", b"b"]
        async with subscribed(other, behind) as updates:
            assert payloads(await take(updates, 1)) == [b"b"]


async def test_topics_select_and_heartbeats_move_the_cursor_on(valkey_url: str, name: str) -> None:
    async with open_feed(valkey_url, name) as feed:
        cursor = feed.cursor
        async with aclosing(feed.subscribe(cursor, topics={"user:1"}, heartbeat_s=0.05)) as updates:
            feed.publish(b"not mine", topic="user:2")
            feed.publish(b"mine", topic="user:1")
            feed.publish(b"nobody's")
            assert payloads(await take(updates, 1)) == [b"mine"]
            while (update := await next_of(updates)).cursor != feed.cursor or update.cursor == cursor:
                assert isinstance(update, Heartbeat)
        async with aclosing(feed.subscribe(cursor, topics={"user:2"})) as updates:
            assert payloads(await take(updates, 1)) == [b"not mine"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "1.2.3", "other.5", "{epoch}.", "{epoch}.-1", "{epoch}.99999999999999", "{epoch}.1"]
)
async def test_cursors_that_are_none_of_this_feed_expire(valkey_url: str, name: str, cursor: str) -> None:
    async with open_feed(valkey_url, name) as feed:
        await flushed(feed, b"something")
        await expired(feed, cursor.replace("{epoch}", feed.cursor.partition(".")[0]))


async def test_a_trimmed_cursor_expires_and_a_newer_one_does_not(valkey_url: str, name: str) -> None:
    async with open_feed(valkey_url, name, length_max=200) as feed:
        start = feed.cursor
        for number in range(1_000):
            feed.publish(b"%d" % number)
            if number % 50 == 49:
                last = await flushed(feed, b"so far")
        await expired(feed, start)
        async with subscribed(feed, last) as updates:
            feed.publish(b"new")
            assert payloads(await take(updates, 1)) == [b"new"]


async def test_a_wiped_redis_expires_cursors_with_and_without_news(
    own_valkey: ValkeyServer, name: str
) -> None:
    async with Redis.from_url(own_valkey.url) as redis, open_feed(own_valkey.url, name) as feed:
        for news in (False, True):
            cursor = await flushed(feed, b"before")
            async with subscribed(feed, cursor, heartbeat_s=0.05) as updates:
                assert isinstance(await next_of(updates), Heartbeat)
                await redis.flushall()
                if news:
                    feed.publish(b"after")
                with pytest.raises(CursorExpired):
                    async with asyncio.timeout(SOON_S):
                        while True:
                            assert isinstance(await anext(updates), Heartbeat)
            await expired(feed, cursor)


async def test_publishing_outlives_a_killed_redis(own_valkey: ValkeyServer, name: str) -> None:
    async with open_feed(own_valkey.url, name) as feed:
        cursor = await flushed(feed, b"before")
        own_valkey.kill()
        with pytest.raises(FeedAway):
            async with subscribed(feed, cursor, heartbeat_s=0.05) as updates, asyncio.timeout(SOON_S):
                while True:
                    await anext(updates)
        for number in range(BUFFER_MAX + 10):
            feed.publish(b"%d" % number)
        own_valkey.start()
        assert await feed.wait_live(SOON_S)
        await expired(feed, cursor)
        feed.publish(b"after")
        # What was kept arrives behind a gap, which a subscriber may still meet.
        with suppress(CursorExpired):
            async with subscribed(feed, feed.cursor) as updates:
                await take(updates, 1)
        assert await flushed(feed, b"works again")


async def test_events_lost_while_redis_was_silent_leave_a_gap(own_valkey: ValkeyServer, name: str) -> None:
    async with Redis.from_url(own_valkey.url) as redis, open_feed(own_valkey.url, name) as feed:
        cursor = await flushed(feed, b"before")
        await redis.config_set("maxmemory", "1")  # writes fail, reads go on, nothing is wiped
        for number in range(BUFFER_MAX + 1):
            feed.publish(b"%d" % number)
        async with subscribed(feed, cursor, heartbeat_s=0.05) as updates:
            assert isinstance(await next_of(updates), Heartbeat)
            await redis.config_set("maxmemory", "128mb")
            with pytest.raises(CursorExpired):
                await take(updates, 1)
        await expired(feed, cursor)


async def test_a_slow_subscriber_is_cut_off_and_others_are_not(valkey_url: str, name: str) -> None:
    async with (
        open_feed(valkey_url, name) as feed,
        subscribed(feed, feed.cursor) as slow,
        subscribed(feed, feed.cursor) as quick,
    ):
        feed.publish(b"first")
        assert payloads(await take(slow, 1)) == payloads(await take(quick, 1)) == [b"first"]
        for number in range(SUBSCRIBER_QUEUE_MAX + 1):
            feed.publish(b"%d" % number)
            if number % 100 == 0:
                await take(quick, 100 if number else 1)
        await take(quick, SUBSCRIBER_QUEUE_MAX - 1_000)
        with pytest.raises(CursorExpired):
            await take(slow, 1)


async def test_opening_without_redis_works_and_close_does_not_hang(
    own_valkey: ValkeyServer, name: str
) -> None:
    own_valkey.kill()
    async with asyncio.timeout(SOON_S), open_feed(own_valkey.url, name) as feed:
        feed.publish(b"into the void")
        with pytest.raises(FeedAway):
            _ = feed.cursor
        with pytest.raises(FeedAway):
            await next_of(feed.subscribe("x.1"))


async def test_closing_sends_what_waits(valkey_url: str, name: str) -> None:
    async with open_feed(valkey_url, name) as reader:
        cursor = reader.cursor
        async with open_feed(valkey_url, name) as writer:
            writer.publish(b"last words")
        async with subscribed(reader, cursor) as updates:
            assert payloads(await take(updates, 1)) == [b"last words"]


async def test_watch_begins_with_a_snapshot_and_resumes_without(valkey_url: str, name: str) -> None:
    state = 0

    async def snapshot() -> int:
        return state

    async with open_feed(valkey_url, name) as feed, asyncio.timeout(SOON_S):
        async with aclosing(watch(feed, "", snapshot=snapshot, heartbeat_s=0.05)) as updates:
            first = await anext(updates)
            assert isinstance(first, Snapshot)
            assert first.state == 0
            for number in range(1, 4):
                state = number
                feed.publish(b"%d" % number)
            events: list[Event] = []
            while len(events) < 3:
                update = await anext(updates)
                assert not isinstance(update, Snapshot)
                events += [update] if isinstance(update, Event) else []
        assert payloads(events) == [b"1", b"2", b"3"]
        async with aclosing(watch(feed, events[0].cursor, snapshot=snapshot)) as updates:
            resumed = await anext(updates)
            assert isinstance(resumed, Event)
            assert resumed.payload == b"2"


async def test_watch_goes_on_by_snapshots_while_redis_is_away(own_valkey: ValkeyServer, name: str) -> None:
    state = "before"

    async def snapshot() -> str:
        return state

    async with (
        asyncio.timeout(2 * SOON_S),
        open_feed(own_valkey.url, name) as feed,
        aclosing(watch(feed, "", snapshot=snapshot, heartbeat_s=0.05)) as updates,
    ):
        first = await anext(updates)
        assert isinstance(first, Snapshot)
        assert first.cursor
        own_valkey.kill()
        state = "away"
        while (update := await anext(updates)).cursor:
            assert isinstance(update, Heartbeat)
        assert update == Snapshot("", "away")
        own_valkey.start()
        state = "back"
        while not (update := await anext(updates)).cursor:
            assert isinstance(update, Snapshot)
        assert isinstance(update, Snapshot)
        assert update.state == "back"
        feed.publish(b"event")
        while isinstance(update, Heartbeat | Snapshot):
            update = await anext(updates)
        assert update.payload == b"event"


async def test_large_events_are_kept_in_smaller_number(
    valkey_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEPT_BYTES_MAX", 100_000)
    async with open_feed(valkey_url, name) as feed, Redis.from_url(valkey_url) as redis:
        for _ in range(50):
            await flushed(feed, b"small")
        assert await redis.xlen(f"satreel:feed:{{{name}}}") == 50
        for _ in range(50):
            await flushed(feed, bytes(10_000))
        assert await redis.xlen(f"satreel:feed:{{{name}}}") == 10


async def test_a_subscriber_is_cut_off_by_bytes_as_well(valkey_url: str, name: str) -> None:
    async with open_feed(valkey_url, name) as feed, subscribed(feed, feed.cursor) as slow:
        feed.publish(b"first")
        await take(slow, 1)
        for _ in range(SUBSCRIBER_BYTES_MAX // 8_000_000 + 2):
            await flushed(feed, bytes(8_000_000))
        await asyncio.sleep(0.05)
        with pytest.raises(CursorExpired):
            await take(slow, 2)


def test_what_waits_to_be_sent_is_bounded_and_told_when_something_is_missing() -> None:
    waiting = Outgoing()
    for number in range(3):
        waiting.add("", bytes(SEND_BYTES_MAX // 2 + number))
    assert ([len(payload) - SEND_BYTES_MAX // 2 for _, payload in waiting.take()[0]], len(waiting)) == (
        [0],
        2,
    )
    for _ in range(BUFFER_BYTES_MAX // SEND_BYTES_MAX + 1):
        waiting.add("", bytes(SEND_BYTES_MAX))
    kept = len(waiting)
    taken, lost = waiting.take()
    assert lost
    assert kept == BUFFER_BYTES_MAX // SEND_BYTES_MAX
    waiting.put_back(taken)
    again, lost = waiting.take()
    assert lost
    assert again == taken
    assert not waiting.take()[1]


def test_an_event_larger_than_all_that_may_wait_is_sent() -> None:
    waiting = Outgoing()
    waiting.add("topic", bytes(BUFFER_BYTES_MAX + 1))
    [(topic, payload)], lost = waiting.take()
    assert (topic, len(payload), lost) == ("topic", BUFFER_BYTES_MAX + 1, False)
