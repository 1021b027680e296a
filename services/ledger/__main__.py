"""Starts the ledger, or one of its commands. Reads as a recipe."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

from satreel.ledger.v1 import ledger_service_pb2_grpc

from mesh import config
from mesh.clock import Clock, SystemClock
from mesh.feeds import open_feed
from mesh.leases import LEASES, Lease
from mesh.records import Store, StoreMissing, open_store, place_of
from mesh.runtime import Runtime, run
from services.ledger.adapters import history, journal, snapshots
from services.ledger.adapters.archive import ObjectArchive, open_objects
from services.ledger.adapters.child import take_snapshot
from services.ledger.adapters.election import LEASE, LeaseElection
from services.ledger.adapters.history import StoreHistory
from services.ledger.adapters.journal import StoreJournal
from services.ledger.adapters.news import FEED, FEED_LENGTH_MAX, FeedNews
from services.ledger.adapters.snapshots import StoreSnapshots
from services.ledger.app.history import History
from services.ledger.app.journal import Head
from services.ledger.app.keeping import Keeper
from services.ledger.app.leadership import keep_leading, keep_telling_readable
from services.ledger.app.ledger import Ledger
from services.ledger.app.snapshotting import Stored
from services.ledger.command_line.command import Root, Unanswered
from services.ledger.command_line.main import main as run_command
from services.ledger.config import LedgerSettings
from services.ledger.domain.machine import Machine
from services.ledger.rpc import show
from services.ledger.rpc.read import read_command
from services.ledger.rpc.reading import READS
from services.ledger.rpc.servicer import LedgerServicer

SERVICE = "satreel.ledger.v1.LedgerService"
# Answers and postings live for long and form no cycles: to look at all of them again and again was 9 % of the
# work in batches. What does form cycles is small, and still found.
GC_THRESHOLDS = (50_000, 20, 100)
SETS = (*journal.SETS, *history.SETS, *snapshots.SETS)


async def serve(settings: LedgerSettings) -> None:
    """Composes the service and serves until stopped."""
    gc.set_threshold(*GC_THRESHOLDS)
    async with Runtime(settings) as runtime:
        clock = runtime.clock
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        election = LeaseElection(Lease(store, LEASE, clock=clock, ttl_s=settings.lease_ttl_s))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED, length_max=FEED_LENGTH_MAX))
        stored = stored_in(store, settings, clock)
        ledger = Ledger(
            stored.journal,
            FeedNews(feed, show.event),
            clock,
            queue_max=settings.queue_max,
            session_silence_s=settings.session_silence_s,
            horizon_days=settings.id_horizon_days,
            staleness_s_max=settings.read_staleness_max_s,
            load=partial(load, stored),
        )
        keeper = Keeper(ledger, stored.snapshots, clock, take_snapshot, every=settings.snapshot_every)

        serving, readable = partial(runtime.health.set, SERVICE), partial(runtime.health.set, READS)
        servicer = LedgerServicer(ledger, feed, History(stored.history))
        await runtime.add(
            ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server, servicer, serving=False
        )
        # It follows on until it ends: for so long it answers reads.
        runtime.background(ledger.follow, "follow")
        runtime.background(partial(keep_leading, ledger, election, serving, clock), "lead", leads=True)
        runtime.background(partial(keep_telling_readable, ledger, readable, clock), "tell readable")
        runtime.background(keeper.keep, "keep snapshots")
        await runtime.serve()


async def load(stored: Stored) -> tuple[Machine, Head]:
    """The state to begin with, out of sight of the garbage collector, which would look at it for 100 ms a
    million transfers. One that was thrown away before refers to itself: only a collection frees it.
    """
    gc.unfreeze()
    gc.collect()
    loaded = await stored.recovery.load()
    gc.freeze()
    return loaded


def stored_in(store: Store, settings: LedgerSettings, clock: Clock, *, read_only: bool = False) -> Stored:
    """All that lies in the record store and in the archive."""
    objects = open_objects(settings.archive_url, settings.archive_dir, read_only=read_only)
    return Stored(
        journal=StoreJournal(store, clock, read_command),
        history=StoreHistory(store, clock),
        snapshots=StoreSnapshots(store, clock),
        archive=ObjectArchive(store, objects, clock, read_command),
    )


@asynccontextmanager
async def open_stored() -> AsyncIterator[Stored]:
    """The same, for commands that read beside the service. Raises Unanswered where none is; makes none."""
    gc.set_threshold(*GC_THRESHOLDS)
    settings = config.load(LedgerSettings, [])
    none = Unanswered(f"there is no ledger in {place_of(settings)}; SATREEL_DATA_DIR says where to look")
    try:
        async with open_store(settings, SETS, read_only=True) as store:
            stored = stored_in(store, settings, SystemClock(), read_only=True)
            if await stored.is_empty():
                raise none
            yield stored
    except StoreMissing as missing:
        raise none from missing


@asynccontextmanager
async def open_stored_to_write() -> AsyncIterator[Stored]:
    """The same, for those that write what the journal makes. Raises Unanswered as well."""
    async with open_stored():
        settings = config.load(LedgerSettings, [])
    async with open_store(settings, SETS) as store:
        yield stored_in(store, settings, SystemClock())


def place() -> str:
    """Where both look."""
    return place_of(config.load(LedgerSettings, []))


def main() -> NoReturn:
    """The console command `satreel-ledger`."""
    root = Root(
        serve=lambda: run(LedgerSettings, serve, []),
        open=open_stored,
        open_to_write=open_stored_to_write,
        place=place,
    )
    raise SystemExit(run_command(root, sys.argv[1:]))


if __name__ == "__main__":
    main()
