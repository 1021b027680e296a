"""What touched our addresses: asked for many at once, and kept until the chain moves.

Nothing of it is believed: that a transaction stands in a block is for its Merkle proof to say. That one was
left out nothing can say, so the newest blocks are asked about again from time to time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mesh.clock import Clock
from services.chain.adapters.http import HttpSource, OutOfReach
from services.chain.adapters.whatsonchain.shapes import HISTORIES, HISTORY, Entry, History
from services.chain.domain.addresses import address_of
from services.chain.domain.inscriptions import key_hash_paid
from services.chain.domain.values import BlockHash, Network, Txid

ADDRESSES_MAX = 20
PAGE_ENTRIES = 1000
PAGES_MAX = 100
SHARE = 10
"""At most one part in so many of the time goes into asking again what was asked already."""
AGE_S_MIN = 20.0
PENDING_REQUESTS_MAX = 3


@dataclass(frozen=True, slots=True)
class _Asked:
    """A history from a height on, as it was with this tip."""

    tip: BlockHash
    lowest: int
    at_s: float
    heights: dict[Txid, int]


class Histories:
    """Histories of the addresses of scripts that pay one key."""

    def __init__(self, source: HttpSource, network: Network, clock: Clock) -> None:
        self._source = source
        self._network = network
        self._clock = clock
        self._confirmed: dict[str, _Asked] = {}
        self._unconfirmed: dict[str, list[Txid]] = {}
        self._took_s = 0.0
        self._turn = 0

    async def confirmed(
        self, scripts: Collection[bytes], tip: BlockHash, lowest: int, *, again: bool = False
    ) -> dict[Txid, int]:
        """Transactions from this height on, and their heights, as of this tip at least.

        `again`: also where nothing has changed since, but not more often than what that costs allows.
        """
        addresses = [self._address(script) for script in scripts]
        began_s = self._clock.monotonic_s()
        oldest_s = began_s - max(AGE_S_MIN, SHARE * self._took_s) if again else float("-inf")
        due = [address for address in addresses if not self._is_fresh(address, tip, lowest, oldest_s)]
        for start in range(0, len(due), ADDRESSES_MAX):
            await self._ask(due[start : start + ADDRESSES_MAX], tip, lowest)
        if len(due) == len(addresses):
            self._took_s = self._clock.monotonic_s() - began_s
        found: dict[Txid, int] = {}
        for address in addresses:
            found |= self._confirmed[address].heights
        return found

    def _is_fresh(self, address: str, tip: BlockHash, lowest: int, oldest_s: float) -> bool:
        asked = self._confirmed.get(address)
        return asked is not None and asked.tip == tip and asked.lowest <= lowest and asked.at_s >= oldest_s

    async def _ask(self, addresses: Sequence[str], tip: BlockHash, lowest: int) -> None:
        for history in await self._bulk("/addresses/confirmed/history", addresses):
            entries = history.result or []
            if history.next_page:
                entries = await self._paged(history.address, lowest)
            heights = {
                Txid(one.tx_hash): one.height or 0 for one in entries if (one.height or 0) >= max(1, lowest)
            }
            self._confirmed[history.address] = _Asked(tip, lowest, self._clock.monotonic_s(), heights)

    async def _paged(self, address: str, lowest: int) -> list[Entry]:
        """A long history, newest first, down to this height."""
        path = f"/address/{address}/confirmed/history?order=desc&limit={PAGE_ENTRIES}&height={lowest}"
        entries: list[Entry] = []
        token: str | None = None
        for _ in range(PAGES_MAX):
            answer = await self._source.get(f"{path}&token={token}" if token else path)
            page = _checked(answer.read(HISTORY), address)
            if len(page.result or []) > PAGE_ENTRIES:
                raise OutOfReach(f"a page of the history of {address} is longer than was asked for")
            entries += page.result or []
            token = page.next_page
            if not token or (page.result and (page.result[-1].height or 0) < lowest):
                return entries
        raise OutOfReach(f"the history of {address} does not end")

    async def unconfirmed(self, scripts: Collection[bytes]) -> list[Txid]:
        """Transactions that wait to be mined. A part of the addresses is asked for each time, in turn."""
        addresses = [self._address(script) for script in scripts]
        size = ADDRESSES_MAX * PENDING_REQUESTS_MAX
        if self._turn >= len(addresses):
            self._turn = 0
        part = addresses[self._turn : self._turn + size]
        self._turn += size
        for start in range(0, len(part), ADDRESSES_MAX):
            chunk = part[start : start + ADDRESSES_MAX]
            for history in await self._bulk("/addresses/unconfirmed/history", chunk):
                self._unconfirmed[history.address] = [Txid(entry.tx_hash) for entry in history.result or []]
        return list(dict.fromkeys(txid for txids in self._unconfirmed.values() for txid in txids))

    async def _bulk(self, path: str, addresses: Sequence[str]) -> list[History]:
        answer = await self._source.post(path, {"addresses": list(addresses)})
        found = answer.read(HISTORIES)
        if sorted(history.address for history in found) != sorted(addresses):
            raise OutOfReach("not one history for each address that was asked for")
        return [_checked(history, history.address) for history in found]

    def _address(self, script: bytes) -> str:
        key_hash = key_hash_paid(script)
        if key_hash is None:
            raise ValueError("only scripts that pay one key have an address")
        return address_of(key_hash, self._network)


def _checked(history: History, address: str) -> History:
    if history.error or history.address != address:
        raise OutOfReach(f"no history of {address}: {(history.error or 'of another')[:100]}")
    return history
