"""Records: where services keep what must not be lost. The port, its failures, the adapter settings choose.

SETS = (SetSpec("listings", indexes={"state": str}),)

async with open_store(settings, SETS) as store:
    generation = await store.create("listings", listing_id, {"state": "open", "price_sats": 5_000})
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from mesh.config import MeshSettings
from mesh.records.errors import (
    BadRecord,
    Busy,
    Exists,
    InDoubt,
    Missing,
    Misuse,
    Stale,
    StoreMissing,
    StoreUnavailable,
    TooBig,
)
from mesh.records.port import (
    KEYS_MAX,
    PAGE_MAX,
    RECORD_BYTES_MAX,
    Bins,
    Record,
    SetSpec,
    Store,
    Value,
    change,
    query_all,
    scan_all,
)
from mesh.records.sqlite import open_sqlite

__all__ = [
    "KEYS_MAX",
    "PAGE_MAX",
    "RECORD_BYTES_MAX",
    "BadRecord",
    "Bins",
    "Busy",
    "Exists",
    "InDoubt",
    "Missing",
    "Misuse",
    "Record",
    "SetSpec",
    "Stale",
    "Store",
    "StoreMissing",
    "StoreUnavailable",
    "TooBig",
    "Value",
    "change",
    "open_store",
    "place_of",
    "query_all",
    "scan_all",
]


def place_of(settings: MeshSettings) -> str:
    """Where `open_store` looks, for people."""
    return (
        f"Aerospike at {settings.aerospike_hosts}" if settings.aerospike_hosts else str(settings.records_path)
    )


@asynccontextmanager
async def open_store(
    settings: MeshSettings, sets: Iterable[SetSpec], *, read_only: bool = False
) -> AsyncIterator[Store]:
    """The service's store: Aerospike if `SATREEL_AEROSPIKE_HOSTS` is set, else SQLite in the data folder.

    With `read_only` no file is made (StoreMissing when there is none); on Aerospike sets that are declared
    without indexes are made by their first record anyway.
    """
    if settings.aerospike_hosts:
        # Imported when asked for: the client's library need not load where SQLite is all there is.
        from mesh.records.aerospike import AerospikeSettings, open_aerospike  # noqa: PLC0415

        cluster = AerospikeSettings(hosts=settings.aerospike_hosts)
        async with open_aerospike(cluster, sets, service=settings.service) as aerospike:
            yield aerospike
    else:
        async with open_sqlite(settings.records_path, sets, read_only=read_only) as sqlite:
            yield sqlite
