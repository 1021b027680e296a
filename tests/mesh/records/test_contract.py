"""What `mesh.records.port.Store` promises, checked on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum

import pytest

from mesh.records import (
    KEYS_MAX,
    PAGE_MAX,
    RECORD_BYTES_MAX,
    BadRecord,
    Bins,
    Exists,
    Missing,
    Misuse,
    Record,
    SetSpec,
    Stale,
    Store,
    TooBig,
    Value,
    change,
    query_all,
    scan_all,
)
from mesh.records.port import KEY_BYTES_MAX

THINGS = "things"


class State(StrEnum):
    OPEN = "open"


async def made(store: Store, *keys: str, **bins: Value) -> None:
    for key in keys:
        await store.create(THINGS, key, bins or {"n": 1})


def keys(records: list[Record]) -> list[str]:
    return [record.key for record in records]


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1),
        *("", "text", "é漢字😀", 'quote" \\ and \n newline', "x" * 100_000),
        *(b"", b"\x00\xff bytes", bytes(range(256)) * 4_000),
        *(0.0, -0.5, 1.0, 1e308, 5e-324, 0.1),
        *(True, False),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!r}",
)
async def test_values_come_back_as_they_were(store: Store, value: Value) -> None:
    await store.create(THINGS, "key", {"value": value, "other": b"x", "more": b"yz"})
    record = await store.get(THINGS, "key")
    assert record is not None
    assert record.bins == {"value": value, "other": b"x", "more": b"yz"}
    assert type(record.bins["value"]) is type(value)


async def test_none_is_left_out_and_enumerations_are_kept_by_value(store: Store) -> None:
    await store.create(THINGS, "key", {"state": State.OPEN, "absent": None})
    record = await store.get(THINGS, "key")
    assert record is not None
    assert record.bins == {"state": "open"}
    assert type(record.bins["state"]) is str
    assert keys(await store.query_eq(THINGS, "state", State.OPEN)) == ["key"]


async def test_what_was_never_written_is_not_there(store: Store) -> None:
    assert await store.get(THINGS, "key") is None
    assert await store.get_many(THINGS, ["key"]) == {}
    assert await store.scan(THINGS) == []
    await store.delete(THINGS, "key")


@pytest.mark.parametrize(
    "key", ["a", "é/漢:字 😀", "x" * KEY_BYTES_MAX, "'; DROP TABLE things; --", f"{7:020d}"]
)
async def test_keys_of_every_kind(store: Store, key: str) -> None:
    await made(store, key)
    assert keys(await store.scan(THINGS)) == [key]
    assert list(await store.get_many(THINGS, [key, "other"])) == [key]


async def test_sets_are_apart(store: Store) -> None:
    await store.create(THINGS, "key", {"n": 1})
    await store.create("others", "key", {"n": 2})
    record = await store.get(THINGS, "key")
    assert record is not None
    assert record.bins == {"n": 1}


async def test_create_does_not_overwrite(store: Store) -> None:
    generation = await store.create(THINGS, "key", {"n": 1})
    with pytest.raises(Exists):
        await store.create(THINGS, "key", {"n": 2})
    assert await store.get(THINGS, "key") == Record("key", {"n": 1}, generation)


async def test_put_if_replaces_the_whole_record(store: Store) -> None:
    first = await store.create(THINGS, "key", {"state": "open", "n": 1, "body": b"1"})
    second = await store.put_if(THINGS, "key", {"state": "done", "n": 2}, first)
    assert second != first
    assert await store.get(THINGS, "key") == Record("key", {"state": "done", "n": 2}, second)
    assert await store.query_eq(THINGS, "state", "open") == []
    assert keys(await store.query_eq(THINGS, "state", "done")) == ["key"]


async def test_put_if_refuses_another_generation(store: Store) -> None:
    first = await store.create(THINGS, "key", {"n": 1})
    second = await store.put_if(THINGS, "key", {"n": 2}, first)
    for stale in (first, second + 1, 0):
        with pytest.raises(Stale):
            await store.put_if(THINGS, "key", {"n": 3}, stale)
    assert await store.get(THINGS, "key") == Record("key", {"n": 2}, second)


@pytest.mark.parametrize("generation", [0, 1])
async def test_put_if_makes_nothing(store: Store, generation: int) -> None:
    with pytest.raises(Missing):
        await store.put_if(THINGS, "key", {"n": 1}, generation)
    assert await store.get(THINGS, "key") is None


async def test_delete(store: Store) -> None:
    await made(store, "key", "other", state="open")
    await store.delete(THINGS, "key")
    assert await store.get(THINGS, "key") is None
    assert keys(await store.query_eq(THINGS, "state", "open")) == ["other"]
    await store.create(THINGS, "key", {"n": 2})


def misuses(store: Store) -> list[Callable[[], object]]:
    long_key, many = "x" * (KEY_BYTES_MAX + 1), ["key"] * (KEYS_MAX + 1)
    bad_bins: list[Bins] = [
        {},
        {"n": None},
        {"n": 2**63},
        {"n": -(2**63) - 1},
        {"n": float("nan")},
        {"n": float("inf")},
        {"n": "nul\0"},
        {"n": "\ud800"},
        {"sixteen_letters_": 1},
        {"": 1},
        {"Upper": 1},
        {"a.b": 1},
        {"state": 1},
        {"size": "text"},
        {"size": True},
        {"state": "x" * 513},
        {"n": [1]},  # type: ignore[dict-item] # what a careless caller would pass
    ]
    return [
        lambda: store.get("undeclared", "key"),
        lambda: store.get(THINGS, ""),
        lambda: store.get(THINGS, "nul\0"),
        lambda: store.get(THINGS, "\ud800"),
        lambda: store.get(THINGS, long_key),
        lambda: store.get_many(THINGS, many),
        lambda: store.delete("undeclared", "key"),
        lambda: store.query_eq(THINGS, "n", 1),
        lambda: store.query_eq(THINGS, "state", 1),
        lambda: store.query_eq(THINGS, "size", True),
        lambda: store.query_eq("undeclared", "state", "open"),
        lambda: store.query_eq(THINGS, "state", "open", limit=0),
        lambda: store.scan(THINGS, limit=PAGE_MAX + 1),
        lambda: store.scan("undeclared"),
        *((lambda bins=bins: store.create(THINGS, "new", bins)) for bins in bad_bins),
        *((lambda bins=bins: store.put_if(THINGS, "kept", bins, 1)) for bins in bad_bins),
    ]


async def test_misuse_is_refused_and_changes_nothing(store: Store) -> None:
    await store.create(THINGS, "kept", {"n": 1})
    for misuse in misuses(store):
        with pytest.raises(Misuse):
            await misuse()  # type: ignore[misc] # each gives something to await
    assert [record.bins async for record in scan_all(store, THINGS)] == [{"n": 1}]


@pytest.mark.parametrize("spec", ["Upper", "", "a b", 'a"', "x" * 64])
def test_bad_set_names_are_refused(spec: str) -> None:
    with pytest.raises(Misuse):
        SetSpec(spec)


async def test_a_record_has_a_largest_size(store: Store) -> None:
    largest = RECORD_BYTES_MAX - len("body") - 8
    generation = await store.create(THINGS, "key", {"body": bytes(largest)})
    for too_big in (bytes(largest + 1), "x" * (largest + 1), "é" * (largest // 2 + 1)):
        with pytest.raises(TooBig):
            await store.put_if(THINGS, "key", {"body": too_big}, generation)
        with pytest.raises(TooBig):
            await store.create(THINGS, "other", {"body": too_big})
    record = await store.get(THINGS, "key")
    assert record is not None
    assert (len(record.blob("body")), record.generation) == (largest, generation)
    assert await store.get(THINGS, "other") is None


async def test_get_many_reads_as_many_as_it_says(store: Store) -> None:
    wanted = [f"{number:020d}" for number in range(KEYS_MAX)]
    async with asyncio.TaskGroup() as tasks:
        for number, key in enumerate(wanted[::2]):
            tasks.create_task(store.create("others", key, {"n": number}))
    found = await store.get_many("others", [*reversed(wanted)])
    assert sorted(found) == wanted[::2]
    assert found[wanted[10]].bins == {"n": 5}
    assert await store.get_many("others", []) == {}
    assert list(await store.get_many("others", [wanted[0], wanted[0]])) == [wanted[0]]


ORDERED = ["A", "a", "a1", "ab", "b", "é", "\uffff", "😀"]


async def test_pages_are_in_the_order_of_keys_both_ways(store: Store) -> None:
    await made(store, *reversed(ORDERED), state="open")
    await made(store, "aa-other", state="done")
    for descending in (False, True):
        expected = ORDERED[::-1] if descending else ORDERED
        seen: list[str] = []
        while page := await store.query_eq(
            THINGS, "state", "open", after=seen[-1] if seen else "", limit=3, descending=descending
        ):
            seen += keys(page)
        assert seen == expected
        after = await store.scan(THINGS, after="a1", descending=descending)
        assert keys(after) == (["a", "A"] if descending else ["aa-other", "ab", "b", "é", "\uffff", "😀"])


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", ["a", "a1", "ab"]),
        ("a1", ["a1"]),
        ("ac", []),
        ("é", ["é"]),
        ("\uffff", ["\uffff"]),
        ("\U0010ffff", []),
        ("\ud7ff", []),
        ("%", []),
        ("_", []),
        ("", ORDERED),
    ],
)
async def test_scan_by_prefix(store: Store, prefix: str, expected: list[str]) -> None:
    await made(store, *ORDERED)
    assert keys(await store.scan(THINGS, prefix=prefix)) == expected
    assert keys(await store.scan(THINGS, prefix=prefix, limit=2, descending=True)) == expected[::-1][:2]


async def test_queries_tell_values_apart(store: Store) -> None:
    values: list[tuple[str, Bins]] = [
        ("a", {"state": "1", "size": 1}),
        ("b", {"state": "1.0", "size": 2**63 - 1}),
        ("c", {"state": "é", "size": -(2**63)}),
        ("d", {"state": "É", "size": 2**53}),
        ("e", {"state": "", "size": 2**53 + 1}),
        ("f", {"n": 1}),
    ]
    for key, bins in values:
        await store.create(THINGS, key, bins)
    for key, bins in values[:5]:
        assert keys(await store.query_eq(THINGS, "state", str(bins["state"]))) == [key]
        size = bins["size"]
        assert isinstance(size, int)
        assert keys(await store.query_eq(THINGS, "size", size)) == [key]


async def test_walking_over_all_pages(store: Store) -> None:
    count = 2 * PAGE_MAX
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(store.create(THINGS, f"{number:06d}", {"state": "open"}))
    expected = [f"{number:06d}" for number in range(count)]
    assert [record.key async for record in scan_all(store, THINGS)] == expected
    assert [record.key async for record in query_all(store, THINGS, "state", "open")] == expected
    assert [record.key async for record in scan_all(store, THINGS, prefix="0019")] == expected[1900:2000]


async def test_a_race_to_create_has_one_winner(store: Store) -> None:
    async def create(number: int) -> bool:
        try:
            await store.create(THINGS, "key", {"n": number})
        except Exists:
            return False
        return True

    won = await asyncio.gather(*(create(number) for number in range(50)))
    assert sum(won) == 1
    record = await store.get(THINGS, "key")
    assert record is not None
    assert record.bins == {"n": won.index(True)}


async def test_races_to_change_have_one_winner_each(store: Store) -> None:
    generation = await store.create(THINGS, "key", {"n": -1})

    async def put(number: int) -> int | None:
        try:
            return await store.put_if(THINGS, "key", {"n": number}, generation)
        except Stale:
            return None

    for _ in range(10):
        results = await asyncio.gather(*(put(number) for number in range(30)))
        won = [number for number, result in enumerate(results) if result is not None]
        assert len(won) == 1
        record = await store.get(THINGS, "key")
        assert record is not None
        assert record.bins == {"n": won[0]}
        generation = record.generation
        assert generation == results[won[0]]


async def test_change_counts_every_change_once(store: Store) -> None:
    await store.create(THINGS, "key", {"n": 0})

    def plus_one(record: Record) -> Bins:
        return {"n": record.integer("n") + 1, "gone": None}

    results = await asyncio.gather(*(change(store, THINGS, "key", plus_one) for _ in range(8)))
    record = await store.get(THINGS, "key")
    assert record is not None
    assert record.bins == {"n": 8}
    assert record in results
    assert await change(store, THINGS, "other", plus_one) is None
    assert await change(store, THINGS, "key", lambda _: None) == record


async def test_a_write_is_read_by_whoever_awaited_it(store: Store) -> None:
    async def one(number: int) -> None:
        key = f"{number}"
        generation = await store.create(THINGS, key, {"n": 0})
        for turn in range(1, 5):
            generation = await store.put_if(THINGS, key, {"n": turn}, generation)
            assert await store.get(THINGS, key) == Record(key, {"n": turn}, generation)

    async with asyncio.TaskGroup() as tasks:
        for number in range(30):
            tasks.create_task(one(number))


def test_typed_readers_refuse_what_is_not_there() -> None:
    record = Record("key", {"text": "t", "n": 1, "flag": True, "real": 0.5, "blob": b"b"}, 1)
    assert (record.text("text"), record.integer("n"), record.flag("flag")) == ("t", 1, True)
    assert (record.real("real"), record.blob("blob"), record.text("absent", "default")) == (
        0.5,
        b"b",
        "default",
    )
    for read in (
        lambda: record.text("n"),
        lambda: record.integer("flag"),
        lambda: record.integer("absent"),
        lambda: record.blob("text"),
        lambda: record.real("n"),
    ):
        with pytest.raises(BadRecord):
            read()
