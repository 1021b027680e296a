"""Records in an Aerospike cluster (server 6 or later), through the official client on a few threads.

Set `things` of service `market` is Aerospike's set `market_things`. Creates are create-only; changes compare
the generation (16 bits, it wraps past 0). The client never repeats a write; one that timed out is in doubt.
Aerospike cannot page in the order of keys: each page walks all matches, filtered by key in the server, and
keeps the nearest.

The Community Edition answers before every copy is safe: a node that freezes or dies can lose acknowledged
changes of its last second, though creates survived every trial. What must not be lost is written by creates.
"""

from mesh.records.aerospike.client import AerospikeSettings
from mesh.records.aerospike.store import AerospikeStore, open_aerospike

__all__ = ["AerospikeSettings", "AerospikeStore", "open_aerospike"]
