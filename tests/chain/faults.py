"""A store that dies at a chosen write, as a process does that is killed: nothing is written afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mesh.records import Bins, Record, Store


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class MortalStore:
    """Dies at write number `at` (from 0), before it or right behind it; never with `at` None."""

    def __init__(self, store: Store, *, at: int | None = None, behind: bool = False) -> None:
        self._store = store
        self._at = at
        self._at_set = ""
        self._behind = behind
        self.writes = 0
        self.dead = False
        self._under_way = 0
        self.pause_before: tuple[str, asyncio.Event, asyncio.Event] | None = None

    def dies_at(self, set_name: str, *, behind: bool) -> None:
        """It dies at the next write to this set."""
        self._at_set, self._behind = set_name, behind

    async def at_rest(self) -> None:
        """Until nothing of the dead process is on its way: a real one's writes end with it."""
        while self._under_way:
            await asyncio.sleep(0)

    async def _write(self, what: Any, set_name: str) -> int:
        if self.pause_before is not None and self.pause_before[0] == set_name:
            _, reached, go = self.pause_before
            self.pause_before = None
            reached.set()
            await go.wait()
        number, self.writes = self.writes, self.writes + 1
        dies = number == self._at or set_name == self._at_set
        if self.dead or (dies and not self._behind):
            self.dead = True
            what.close()
            raise Killed
        if dies:
            self.dead = True
        self._under_way += 1
        try:
            done: int = await what
        finally:
            self._under_way -= 1
        if dies:
            raise Killed
        return done

    async def create(self, set_name: str, key: str, bins: Bins) -> int:
        return await self._write(self._store.create(set_name, key, bins), set_name)

    async def put_if(self, set_name: str, key: str, bins: Bins, generation: int) -> int:
        return await self._write(self._store.put_if(set_name, key, bins, generation), set_name)

    async def delete(self, set_name: str, key: str) -> None:
        await self._store.delete(set_name, key)

    async def get(self, set_name: str, key: str) -> Record | None:
        return await self._store.get(set_name, key)

    async def get_many(self, set_name: str, keys: Sequence[str]) -> dict[str, Record]:
        return await self._store.get_many(set_name, keys)

    async def query_eq(self, set_name: str, bin_name: str, value: str | int, **page: Any) -> list[Record]:
        return await self._store.query_eq(set_name, bin_name, value, **page)

    async def scan(self, set_name: str, **page: Any) -> list[Record]:
        return await self._store.scan(set_name, **page)
