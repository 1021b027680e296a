"""Looks, before there is money, whether the settings name keys that open and sources of the chain in use.

`python -m services.chain.preflight` reads the settings of the service. It sends nothing, and writes nothing.
Exit codes: 0 all is as it should be; 1 something is not, and is named; 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from mesh import config
from mesh.clock import Clock, SystemClock
from services.chain.adapters.keyfile import KeyFileRefused
from services.chain.adapters.seed import SeedMissing
from services.chain.app.headers import read_header
from services.chain.app.ports import ChainReader
from services.chain.config import ChainSettings
from services.chain.domain.consensus import CONSENSUS, BadHeader, Consensus
from services.chain.domain.failures import AddressInvalid, NodeUnavailable
from services.chain.domain.keys import FLOAT, RECORD, REFILL, KeyRing
from services.chain.domain.values import Network
from services.chain.outside import open_sources

BEHIND_MAX = 1
"""Blocks that one source may be behind another."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is as it should be, and in words."""

    what: str
    right: bool
    told: str

    def __str__(self) -> str:
        return f"{'ok' if self.right else 'WRONG':<6} {self.what:<14} {self.told}"


async def findings(settings: ChainSettings, clock: Clock) -> AsyncIterator[Finding]:
    """Keys, sources and fee, one after the other."""
    yield _keys(settings)
    yield _hot_wallet(settings)
    consensus, heights = CONSENSUS[settings.network], dict[str, int]()
    async with open_sources(settings, clock, {}) as sources:
        for name, reader in sources.readers.items():
            yield await _source(name, reader, consensus, heights)
        yield _agreement(heights)
        yield Finding("sending", True, " then ".join(sources.broadcasters))
        if sources.quotes is not None:
            try:
                asked = await sources.quotes.sats_per_kb()
            except NodeUnavailable as problem:
                yield Finding("arc", False, problem.message)
            else:
                most = max(settings.sats_per_kb_max, settings.sats_per_kb)
                yield Finding("arc", asked <= most, f"asks for {asked} sat/kB, at most {most} are allowed")


def _keys(settings: ChainSettings) -> Finding:
    if settings.key_file is None:
        return Finding("keys", False, "no key file: see the key ceremony")
    try:
        keys = KeyRing(settings.seed_source.load(), settings.network)
    except (KeyFileRefused, SeedMissing) as problem:
        return Finding("keys", False, str(problem))
    named = {"float": FLOAT, "refill": REFILL, "records": RECORD}
    addresses = ", ".join(f"{name} {keys.address(path)}" for name, path in named.items())
    return Finding("keys", True, f"{keys.fingerprint}: {addresses}")


def _hot_wallet(settings: ChainSettings) -> Finding:
    try:
        hot = settings.rules.hot
    except (AddressInvalid, ValueError) as problem:
        return Finding("hot wallet", False, str(problem))
    if hot is None or not hot.ceiling_sats:
        return Finding("hot wallet", settings.network is not Network.MAIN, "it has no ceiling")
    where = hot.cold_address or "nowhere"
    return Finding("hot wallet", True, f"{hot.floor_sats} to {hot.ceiling_sats} sat, more goes to {where}")


async def _source(name: str, reader: ChainReader, consensus: Consensus, heights: dict[str, int]) -> Finding:
    """Whether it is of this network, and its best block has the work that the network asks for."""
    try:
        if await reader.hash_at(0) != consensus.genesis.hash:
            return Finding(name, False, f"its genesis block is not that of {consensus.network}")
        best = await read_header(reader, await reader.best(), consensus)
        consensus.check_start(best.header, best.height)
    except (NodeUnavailable, BadHeader) as problem:
        return Finding(name, False, str(problem))
    heights[name] = best.height
    return Finding(name, True, f"{consensus.network}, block {best.height} {best.header.hash}")


def _agreement(heights: Mapping[str, int]) -> Finding:
    if not heights:
        return Finding("reading", False, "there is no source to read from")
    behind = max(heights.values()) - min(heights.values())
    return Finding("reading", behind <= BEHIND_MAX, f"{' then '.join(heights)}; {behind} blocks apart")


async def main(settings: ChainSettings) -> int:
    """Prints what it finds."""
    found = [finding async for finding in findings(settings, SystemClock())]
    sys.stdout.write("".join(f"{finding}\n" for finding in found))
    return 0 if all(finding.right for finding in found) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(config.load(ChainSettings))))
