"""Entities as flat records: one table per entity, bins named like its fields."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice
from typing import Generic, TypeVar

from mesh.records import KEYS_MAX, Bins, Exists, Record, SetSpec, Store, Value, query_all, scan_all
from services.chain.domain.entities import (
    Account,
    Coin,
    Deposit,
    Freeze,
    Move,
    Result,
    Title,
    TitleBody,
    Tx,
    Undo,
    Withdrawal,
)
from services.chain.domain.header import Block, Header
from services.chain.domain.keys import KeyPath
from services.chain.domain.values import Outpoint

T = TypeVar("T")
Parse = Callable[[Value], object]

SETS = (
    SetSpec("accounts"),
    SetSpec("headers"),
    SetSpec("pointers"),
    SetSpec("coins", indexes={"state": str}),
    SetSpec("txs", indexes={"open": int, "state": str, "txid": str, "block_hash": str}),
    SetSpec("freezes", indexes={"lifted": int}),
    SetSpec("deposits", indexes={"state": str, "user_id": str, "block_hash": str}),
    SetSpec("withdrawals", indexes={"state": str, "user_id": str}),
    SetSpec("title_bodies"),
    SetSpec("titles", indexes={"state": str}),
    SetSpec("moves", indexes={"state": str}),
    SetSpec("undos", indexes={"block_hash": str}),
    SetSpec("results", indexes={"state": str}),
)


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """An entity as it is in the store; the generation is what a change is conditional on."""

    value: T
    generation: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """A place in the chain that survives a restart, and the event (hashes) that led to it."""

    name: str
    block_hash: str
    sequence: int = 0
    at_ns: int = 0
    orphaned: tuple[str, ...] = ()
    connected: tuple[str, ...] = ()
    published: bool = True
    # A block behind this one that may be half applied or, with `undoing`, half undone.
    begun: str = ""
    undoing: bool = False


class Table(Generic[T]):
    """The records of one kind of entity."""

    def __init__(self, store: Store, set_name: str, kind: type[T], key: str) -> None:
        self._store = store
        self._set = set_name
        self._kind = kind
        self._key = key
        hints = typing.get_type_hints(kind)
        self._parsers = {name: _parser(hints[name]) for name in hints}

    async def get(self, key: str) -> Kept[T] | None:
        """The entity, or None."""
        record = await self._store.get(self._set, key)
        return None if record is None else self._read(record)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Kept[T]]:
        """Those that exist, by key."""
        found: dict[str, Kept[T]] = {}
        left = iter(keys)
        while chunk := list(islice(left, KEYS_MAX)):
            records = await self._store.get_many(self._set, chunk)
            found.update({key: self._read(record) for key, record in records.items()})
        return found

    async def create(self, value: T) -> Kept[T]:
        """Writes a new one. Raises Exists."""
        return Kept(value, await self._store.create(self._set, self._key_of(value), _bins(value)))

    async def ensure(self, value: T) -> Kept[T]:
        """Writes a new one, or finds the one that is there."""
        try:
            return await self.create(value)
        except Exists:
            found = await self.get(self._key_of(value))
            if found is None:
                raise
            return found

    async def ensure_all(self, values: Iterable[T]) -> list[Kept[T]]:
        """`ensure` for many, each on its own."""
        return list(await asyncio.gather(*map(self.ensure, values)))

    async def put(self, kept: Kept[T], value: T) -> Kept[T]:
        """Changes one that nobody changed since it was read. Raises Stale."""
        key = self._key_of(value)
        return Kept(value, await self._store.put_if(self._set, key, _bins(value), kept.generation))

    async def put_all(self, changes: Sequence[tuple[Kept[T], T]]) -> list[Kept[T]]:
        """Changes many, each on its own. Raises Stale."""
        return list(await asyncio.gather(*(self.put(kept, value) for kept, value in changes)))

    async def where(self, bin_name: str, value: str | int) -> list[Kept[T]]:
        """All whose indexed bin has this value, in the order of keys."""
        return [self._read(record) async for record in query_all(self._store, self._set, bin_name, value)]

    async def page(self, bin_name: str, value: str, *, before: str, limit: int) -> list[Kept[T]]:
        """A page of those, the highest key first, from below the key `before`."""
        found = await self._store.query_eq(
            self._set, bin_name, value, after=before, limit=limit, descending=True
        )
        return [self._read(record) for record in found]

    async def behind(self, key: str, limit: int) -> list[Kept[T]]:
        """Those behind a key, in the order of keys; "" for the first."""
        return [self._read(record) for record in await self._store.scan(self._set, after=key, limit=limit)]

    async def all(self) -> list[Kept[T]]:
        """Every one, in the order of keys."""
        return [self._read(record) async for record in scan_all(self._store, self._set)]

    async def delete(self, key: str) -> None:
        """Removes one that is no longer needed."""
        await self._store.delete(self._set, key)

    def _key_of(self, value: T) -> str:
        return _text(getattr(value, self._key))

    def _read(self, record: Record) -> Kept[T]:
        values = {
            name: self._parsers[name](bin_) for name, bin_ in record.bins.items() if name in self._parsers
        }
        return Kept(self._kind(**values), record.generation)


class Records:
    """All tables of the service."""

    def __init__(self, store: Store) -> None:
        self.accounts = Table(store, "accounts", Account, "index")
        self.blocks = Table(store, "headers", Block, "hash")
        self.pointers = Table(store, "pointers", Pointer, "name")
        self.coins = Table(store, "coins", Coin, "outpoint")
        self.txs = Table(store, "txs", Tx, "plan")
        self.freezes = Table(store, "freezes", Freeze, "txid")
        self.deposits = Table(store, "deposits", Deposit, "id")
        self.withdrawals = Table(store, "withdrawals", Withdrawal, "id")
        self.title_bodies = Table(store, "title_bodies", TitleBody, "meme_id")
        self.titles = Table(store, "titles", Title, "meme_id")
        self.moves = Table(store, "moves", Move, "sale_id")
        self.undos = Table(store, "undos", Undo, "key")
        self.results = Table(store, "results", Result, "round_id")


def _bins(value: object) -> Bins:
    return {spec.name: _bin(getattr(value, spec.name)) for spec in fields(value)}  # type: ignore[arg-type]  # a dataclass


def _bin(value: object) -> Value:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str | int | bytes | bool):
        return value
    if isinstance(value, Header):
        return bytes(value)
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:010d}" if isinstance(value, int) else str(value)


_PARSERS: Mapping[object, Parse] = {
    Outpoint: lambda value: Outpoint.parse(str(value)),
    KeyPath: lambda value: KeyPath.parse(str(value)),
    Header: lambda value: Header.parse(value if isinstance(value, bytes) else b""),
    tuple[str, ...]: lambda value: tuple(str(value).split()),
    tuple[int, ...]: lambda value: tuple(map(int, str(value).split())),
}


def _parser(hint: object) -> Parse:
    if hint in _PARSERS:
        return _PARSERS[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        kind = hint
        return lambda value: kind(str(value))
    return lambda value: value
