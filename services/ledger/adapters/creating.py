"""Creating a record whatever the store answers at first: what is created here can be created again."""

from __future__ import annotations

from mesh.clock import Clock
from mesh.records import Bins, Busy, Exists, InDoubt, Store, StoreUnavailable

CREATE_WITHIN_S = 10.0
PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 1.0


async def create(store: Store, clock: Clock, set_name: str, key: str, bins: Bins) -> bool:
    """Whether the record was made here and now; else it was there already, or an earlier try made it.

    Raises Busy, StoreUnavailable or InDoubt when the store has been in trouble for long.
    """
    give_up_s, pause_s = clock.monotonic_s() + CREATE_WITHIN_S, PAUSE_S_MIN
    while True:
        try:
            await store.create(set_name, key, bins)
        except Exists:
            return False
        except (Busy, StoreUnavailable, InDoubt):
            if clock.monotonic_s() >= give_up_s:
                raise
        else:
            return True
        await clock.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
