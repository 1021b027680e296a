"""Nothing is signed while a coin of ours was spent in a way that nobody has looked into.

A freeze is a record, so that no restart lifts it: an administrator does, by naming the spend that was looked
into. The same spend does not freeze again.
"""

from __future__ import annotations

from dataclasses import replace

from mesh import logs, telemetry
from mesh.clock import Clock
from services.chain.app.records import Kept, Records
from services.chain.domain.entities import Freeze
from services.chain.domain.failures import FreezeNotFound
from services.chain.domain.values import Outpoint, Txid

log = logs.logger(__name__)

_frozen = telemetry.gauge(
    "chain.wallet.frozen", "Spends of our coins that stop all signing until they are lifted.", unit="{spend}"
)


class Freezing:
    """What stops the wallet."""

    def __init__(self, *, records: Records, clock: Clock) -> None:
        self._table = records.freezes
        self._clock = clock
        self._open: dict[Txid, Kept[Freeze]] = {}

    async def load(self) -> None:
        """Knows again what is open."""
        self._open = {kept.value.txid: kept for kept in await self._table.where("lifted", 0)}
        _frozen.set(len(self._open))

    @property
    def open(self) -> list[Freeze]:
        """Those that nobody lifted, the oldest first."""
        return sorted((kept.value for kept in self._open.values()), key=lambda freeze: freeze.since_ns)

    async def freeze(self, txid: Txid, outpoint: Outpoint, why: str) -> None:
        """Stops signing, unless this spend was looked into."""
        kept = await self._table.ensure(Freeze(txid, outpoint, why, self._clock.now_ns()))
        if kept.value.lifted:
            return
        self._open[txid] = kept
        _frozen.set(len(self._open))
        log.critical("wallet frozen", why=why)

    async def lift(self, txid: Txid, by: str) -> None:
        """Signing may go on, as far as this spend is concerned. May be repeated. Raises FreezeNotFound."""
        kept = self._open.get(txid)
        if kept is None:
            if await self._table.get(txid) is None:
                raise FreezeNotFound(txid=txid)
            return
        await self._table.put(kept, replace(kept.value, lifted=1, lifted_by=by))
        self._open.pop(txid, None)
        _frozen.set(len(self._open))
        log.warning("freeze lifted", txid=txid, by=by)
