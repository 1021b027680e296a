"""Users in the record store.

Sets: `addresses` (key: address; who it belongs to), `users` (key: user id), `names` (key: folded name; who
holds it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.records import Bins, Exists, Record, SetSpec, Stale, Store, change
from services.identity.app.ports import NameHold
from services.identity.domain.users import Address, AddressClaim, User, UserId

ADDRESSES = SetSpec("addresses")
USERS = SetSpec("users")
NAMES = SetSpec("names")
SETS = (ADDRESSES, USERS, NAMES)


class StoredUsers:
    """`Users`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def claim(self, claim: AddressClaim) -> AddressClaim:
        """Binds an address to a user, once."""
        found = await self._store.get(ADDRESSES.name, claim.address)
        if found is None:
            bins: Bins = {"user_id": claim.user_id, "created_ns": claim.created_ns}
            try:
                await self._store.create(ADDRESSES.name, claim.address, bins)
            except Exists:
                return await self.claim(claim)
            return claim
        return AddressClaim(claim.address, UserId(found.text("user_id")), found.integer("created_ns"))

    async def create(self, user: User) -> tuple[User, bool]:
        """Makes the user unless there is one with this id."""
        found = await self.get(user.id)
        if found is not None:
            return found, False
        try:
            await self._store.create(USERS.name, user.id, _bins(user))
        except Exists:
            return await self.create(user)
        return user, True

    async def get(self, user_id: UserId) -> User | None:
        """A user."""
        record = await self._store.get(USERS.name, user_id)
        return None if record is None else _user(record)

    async def get_many(self, user_ids: Sequence[UserId]) -> list[User]:
        """Those that exist, in the order asked."""
        records = await self._store.get_many(USERS.name, user_ids)
        return [_user(records[user_id]) for user_id in user_ids if user_id in records]

    async def change(self, user_id: UserId, decide: Callable[[User], User]) -> User | None:
        """Replaces the user by what `decide` makes of it."""
        record = await change(self._store, USERS.name, user_id, lambda record: _bins(decide(_user(record))))
        return None if record is None else _user(record)

    async def reserve_name(self, key: str, hold: NameHold) -> NameHold:
        """Reserves a name unless it is reserved."""
        found = await self._store.get(NAMES.name, key)
        if found is None:
            try:
                await self._store.create(NAMES.name, key, _hold_bins(hold))
            except Exists:
                return await self.reserve_name(key, hold)
            return hold
        return _hold(found)

    async def take_name_over(self, key: str, *, expected: NameHold, hold: NameHold) -> bool:
        """Replaces a hold that stands for nothing."""
        found = await self._store.get(NAMES.name, key)
        if found is None or _hold(found) != expected:
            return False
        try:
            await self._store.put_if(NAMES.name, key, _hold_bins(hold), found.generation)
        except Stale:
            return False
        return True


def _bins(user: User) -> Bins:
    return {
        "address": user.address,
        "name": user.display_name,
        "created_ns": user.created_ns,
        "payout_address": user.payout_address,
        "auto_payout": user.auto_payout,
        "proved_ns": user.payout_proved_ns,
    }


def _user(record: Record) -> User:
    return User(
        id=UserId(record.key),
        address=Address(record.text("address")),
        display_name=record.text("name"),
        created_ns=record.integer("created_ns"),
        payout_address=record.text("payout_address"),
        auto_payout=record.flag("auto_payout"),
        payout_proved_ns=record.integer("proved_ns"),
    )


def _hold_bins(hold: NameHold) -> Bins:
    return {"user_id": hold.user_id, "reserved_ns": hold.reserved_ns}


def _hold(record: Record) -> NameHold:
    return NameHold(UserId(record.text("user_id")), record.integer("reserved_ns"))
