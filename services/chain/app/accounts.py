"""Whose key is which: every user gets one key index, for deposits and for titles, once and for all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from mesh.records import Exists
from services.chain.app.records import Records
from services.chain.domain.entities import Account
from services.chain.domain.keys import CHANGE, FLOAT, REFILL, KeyPath, KeyRing, KeyUse
from services.chain.domain.scan import Interest
from services.chain.domain.values import COLD_USER, FLOAT_USER, Outpoint, Txid, UserId

ALLOTMENTS_MAX = 16
_OPERATORS = {KeyUse.FLOAT: FLOAT_USER, KeyUse.REFILL: COLD_USER}


class Accounts:
    """Key indexes of users, all in memory: they are what transactions are scanned for."""

    def __init__(self, records: Records, keys: KeyRing) -> None:
        self._records = records
        self._keys = keys
        self._indexes: dict[UserId, int] = {}
        self._users: dict[int, UserId] = {}
        self._allotting = asyncio.Lock()
        self.watched: dict[bytes, KeyPath] = {keys.key(path).script: path for path in (FLOAT, REFILL)}

    async def load(self) -> None:
        """Reads what was allotted."""
        for kept in await self._records.accounts.all():
            self._add(kept.value)

    def interest(self, own: Collection[Txid] = (), coins: Collection[Outpoint] = ()) -> Interest:
        """What the chain is read for, with these transactions and coins of ours."""
        watched = dict(self.watched)
        return Interest(watched, own, coins, (*watched, self._keys.key(CHANGE).script))

    def owner(self, path: KeyPath) -> UserId:
        """Who is credited for what a watched key gets."""
        return _OPERATORS.get(path.use) or self._users[path.index]

    async def path(self, user_id: UserId, use: KeyUse) -> KeyPath:
        """The user's key for this use; allots an index at the first call."""
        index = self._indexes.get(user_id)
        return KeyPath(use, await self._allot(user_id) if index is None else index)

    async def _allot(self, user_id: UserId) -> int:
        async with self._allotting:
            for _ in range(ALLOTMENTS_MAX):
                if user_id in self._indexes:
                    return self._indexes[user_id]
                wanted = Account(max(self._users, default=-1) + 1, user_id)
                try:
                    await self._records.accounts.create(wanted)
                except Exists:  # another leader's, or our own of an unknown outcome
                    await self.load()
                else:
                    self._add(wanted)
        return self._indexes[user_id]

    def _add(self, account: Account) -> None:
        if account.index in self._users:
            return
        self._users[account.index] = account.user_id
        # Should a user ever have two, both are watched and the first is shown.
        self._indexes.setdefault(account.user_id, account.index)
        path = KeyPath(KeyUse.DEPOSIT, account.index)
        self.watched[self._keys.key(path).script] = path
