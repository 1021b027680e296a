"""The people of the demo and of endless rounds, what they ask, and how they wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.coins import coins_in_custody
from sandbox.launcher import House
from sandbox.people import NotInTime, Person
from sandbox.report import Report

FLOAT_SATS = 200_000
DEPOSIT_SATS = 20_000
CREATORS = ("Ada", "Babbage", "Curie")
VIEWERS = ("Vera", "Viktor", "Violet", "Vince", "Vanja")
PATIENCE_S = 240.0
# Between blocks, where one is to bring something about.
BLOCK_S = 3.0
POLL_S = 0.25

FLOAT_ADDRESS = "mutation FloatAddress { floatAddress }"
ROUND_UPDATED = """subscription RoundUpdated {
  roundUpdated { id number state anchor { height hash } entryCount }
}"""
ROUND = """query Round($id: ID!) {
  round(id: $id) {
    number state takingsSats paidSeconds anchor { height hash }
    record { txid state confirmations }
    result {
      feeSats creatorsSats ownersSats poolSats carriedInSats carriedOutSats txid
      standings { rank score scoredSeconds takingsSats payoutSats meme { name } creator { displayName } }
    }
  }
}"""
BOOKS = """{ books {
  totals { sumSats coinsOwedSats usersSats platformSats roundsSats journalSequence postings }
  custody { coinsSats inFlightSats uncreditedSats unpostedCostSats owedSats differenceSats coins }
} }"""


@dataclass(slots=True)
class Town:
    """Everybody in the demo, and what they have made."""

    house: House
    report: Report
    admin: Person
    creators: list[Person]
    viewers: list[Person]
    # Those that wait for a round.
    memes: list[str] = field(default_factory=list)
    # Titles that changed hands.
    sold: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, house: House, report: Report, *, seed: str) -> Town:
        """People with wallets of their own who are not logged in yet."""
        return cls(
            house,
            report,
            admin=Person.of("Admin", house.url, seed=seed),
            creators=[Person.of(name, house.url, seed=seed) for name in CREATORS],
            viewers=[Person.of(name, house.url, seed=seed) for name in VIEWERS],
        )

    @property
    def people(self) -> list[Person]:
        """Everybody."""
        return [self.admin, *self.creators, *self.viewers]

    async def close(self) -> None:
        """Everybody hangs up."""
        for person in self.people:
            await person.client.close()

    async def log_in(self) -> None:
        """Everybody logs in by wallet signature."""
        for person in self.people:
            await person.log_in()
        self.report.step(f"{len(self.people)} people logged in by wallet signature")

    async def fund_float(self) -> None:
        """The operator's coins, which pay miners' fees and inscriptions."""
        address = (await self.admin.client.ask(FLOAT_ADDRESS))["floatAddress"]
        coin = await self.house.chain.fund(address, FLOAT_SATS)
        self.report.step(f"operator float: {FLOAT_SATS} sat in {coin.txid}")

    async def coins_on_chain(self) -> tuple[int, int]:
        """Number and satoshis of the coins in custody since the start of this run, as the node tells them."""
        paid_in = {(await self.admin.client.ask(FLOAT_ADDRESS))["floatAddress"]}
        for person in self.people:
            paid_in.add(await person.deposit_address())
        outside = {person.wallet.address for person in self.people}
        found = await coins_in_custody(
            self.house.rpc, paid_in=paid_in, outside=outside, after_height=self.house.first_height
        )
        return len(found), sum(found.values())

    async def until(self, what: str, ready: Any, *, timeout_s: float = PATIENCE_S) -> Any:
        """Polls `ready()` until it gives something true. Raises NotInTime."""
        give_up_at = time.monotonic() + timeout_s
        while not (found := await ready()):
            if self.house.parts.failed.done():
                self.house.parts.failed.result()
            if time.monotonic() > give_up_at:
                raise NotInTime(f"{what}: not within {timeout_s:.0f} s")
            await asyncio.sleep(POLL_S)
        return found

    async def mine_until(self, what: str, ready: Any, *, blocks_max: int = 30) -> Any:
        """Mines a block at a time until `ready()`. Raises NotInTime."""
        for _ in range(blocks_max):
            await self.house.chain.mine()
            with contextlib.suppress(NotInTime):
                return await self.until(what, ready, timeout_s=BLOCK_S)
        raise NotInTime(f"{what}: not within {blocks_max} blocks")
