"""A ledger’s storage with a life in it: commands become journal records, beside all that is kept."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from obstore.store import MemoryStore as MemoryObjects
from obstore.store import ObjectStore

from mesh.clock import NS_PER_S, ManualClock
from mesh.records import Store
from mesh.records.memory import MemoryStore
from services.ledger.__main__ import SETS
from services.ledger.adapters.archive import ObjectArchive
from services.ledger.adapters.history import StoreHistory
from services.ledger.adapters.journal import StoreJournal
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app.journal import Author, Draft, Head
from services.ledger.app.snapshotting import Stored, Taken, take
from services.ledger.domain import commands as c
from services.ledger.domain import image
from services.ledger.domain.commands import Transfer
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Refused
from tests.ledger.world import RATES, World, uid

DEAR = replace(RATES, second_price_sats=3)
AUTHOR = Author("one", 1)


class HastyClock(ManualClock):
    """Time that passes by being waited for."""

    async def sleep(self, seconds: float) -> None:
        self._now_ns += round(seconds * NS_PER_S)
        await super().sleep(0)


def stored_in(store: Store, objects: ObjectStore, clock: ManualClock) -> Stored:
    """Storage whose journal holds pickled commands: as good as any bytes, and tests need no wire."""
    return Stored(
        journal=StoreJournal(store, clock, pickle.loads),
        history=StoreHistory(store, clock),
        snapshots=StoreSnapshots(store, clock),
        archive=ObjectArchive(store, objects, clock, pickle.loads),
    )


class Site(World):
    """Every command is a record of its own, written by `write`."""

    def __init__(self, *, store: Store | None = None, objects: ObjectStore | None = None) -> None:
        super().__init__(checked=False)
        self.store = store or MemoryStore(SETS)
        self.objects = objects or MemoryObjects()
        self.clock = HastyClock()
        self.stored = stored_in(self.store, self.objects, self.clock)
        self.head = Head()
        self._drafts: list[Draft] = []
        self._note((), c.Reign(10))

    def do(self, command: c.Command, *, after_s: float = 0) -> Any:
        try:
            return super().do(command, after_s=after_s)
        finally:
            self._note((command,))

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        self._note(())

    def _note(self, commands: Sequence[c.Command], reign: c.Reign | None = None) -> None:
        wires = tuple(map(pickle.dumps, commands))
        self._drafts.append(Draft(AUTHOR, self.machine.now_ns, reign, wires, self.machine.seal()))
        self.machine.forget_changes()

    async def write(self) -> Head:
        """Writes what was done since the last time."""
        for draft in self._drafts:
            self.head = await self.stored.journal.append(draft, self.head)
        self._drafts.clear()
        return self.head

    async def snapshot(self) -> Taken:
        """Writes, and has a snapshot taken."""
        await self.write()
        return await take(self.stored, self.clock)

    async def recovered(self) -> tuple[Machine, Head]:
        """What another instance would begin with."""
        machine, head = await self.stored.recovery.load()
        async for entry in self.stored.journal.read(head):
            machine.advance(entry.at_ns, entry.reign)
            for command in entry.commands:
                try:
                    machine.apply(command)
                except Refused:
                    continue
            assert machine.seal() == entry.result_hash
            machine.forget_changes()
            head = entry.head
        return machine, head

    def pay(self, name: str, debit: str, credit: str, amount: int = 1, count: int = 1) -> None:
        """Transfers between users, in one command."""
        self.transfer(
            *(
                Transfer(uid(f"{name}:{number}", self.now_ns), f"user:{debit}", f"user:{credit}", amount)
                for number in range(count)
            )
        )


def state(machine: Machine) -> bytes:
    """Hash of the state, equal for all machines in it."""
    return image.hash_of(image.dump(machine))


def full_life(site: Site, rounds: int = 6) -> None:
    """Something of everything: debts, holds that are open, expired, ended, refusals, rounds that leave."""
    for user in ("v", "w", "x"):
        site.fund(user, 50_000)
    for number in range(rounds):
        _round(site, f"r{number}", voided=number % 3 == 1)
        site.pay(f"p{number}", "v", "w", 2, count=300)
        _holds(site, f"h{number}")
        site.transfer(Transfer(uid(f"too-much{number}"), "user:w", "user:v", 10**9))
    _debt(site)
    _round(site, "last", open_=True)


def _round(site: Site, name: str, *, voided: bool = False, open_: bool = False) -> None:
    site.open_round("a", "b", name=name, length_s=200, rates=DEAR)
    for number in range(60):
        watched_s = 1 if number % 10 else 4
        site.open_session(f"{name}:v{number}", "v", "m-a", 50)
        site.open_session(f"{name}:w{number}", "w", "m-b", 20)
        site.report((f"{name}:v{number}", watched_s), (f"{name}:w{number}", watched_s), after_s=watched_s)
        if number < 59:
            site.do(c.CloseSession(uid(f"{name}:v{number}"), "v"))
            site.do(c.CloseSession(uid(f"{name}:w{number}"), "w"))
    site.report((f"{name}:v59", 8), (f"{name}:w59", 4), after_s=7)
    owner = site.owner("m-a")
    buyer = "x" if owner != "x" else "v"
    sale = Transfer(uid(f"{name}:sale", site.now_ns), f"user:{owner}", f"user:{buyer}", 1, asset="title:m-a")
    site.transfer(sale)
    site.report((f"{name}:v59", 14), (f"{name}:w59", 6), after_s=6)
    if open_:
        return
    if voided:
        site.do(c.VoidRound(uid(name), "mistake"))
        return
    site.lock(name)
    tallies = {tally.meme_id: tally for tally in site.round(name).tallies}
    ranked = sorted(tallies, key=lambda meme: -tallies[meme].scored_seconds)
    site.distribute([meme for meme in ranked if tallies[meme].scored_seconds], name)


def _holds(site: Site, name: str) -> None:
    kinds = c.TransferKind
    for number, lasts_s in enumerate((0, 3, 0, 0)):
        hold = Transfer(
            uid(f"{name}:{number}"), "user:x", "chain:coins", 7, kind=kinds.HOLD, hold_expires_s=lasts_s
        )
        site.transfer(hold, caller="chain")
    ends = (
        Transfer(uid(f"{name}:post"), kind=kinds.POST_HOLD, hold_id=uid(f"{name}:2"), amount=3),
        Transfer(uid(f"{name}:void"), kind=kinds.VOID_HOLD, hold_id=uid(f"{name}:3")),
    )
    site.transfer(*ends, caller="chain")
    site.wait(4)


def _debt(site: Site) -> None:
    site.do(c.CreditDeposits((c.Deposit(uid("gone"), "user:y", 500, "f" * 64, 1, "b" * 64),)))
    site.pay("spend", "y", "v", 400)
    site.do(c.ReverseDeposit(uid("undo"), uid("gone"), "orphaned"))
