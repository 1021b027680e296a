"""The hot wallet between a floor and a ceiling: what is above goes to a cold address.

The ledger says both what the hot wallet must hold (`chain:coins`) and what lies at the cold address
(`chain:cold`): a sweep moves from the one to the other when it is mined, and what is paid to the refill
address moves back. The fee is the float's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh import logs, telemetry
from services.chain.app.books import Books
from services.chain.app.floats import Float
from services.chain.app.orders import Order, Shares, nothing
from services.chain.app.ports import Ledger, Transfer
from services.chain.app.wallet import Wallet
from services.chain.domain.addresses import key_hash_of
from services.chain.domain.entities import Tx
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import UNMINED
from services.chain.domain.values import COINS_ACCOUNT, COLD_ACCOUNT, Network, Purpose, Sats, derived_id
from services.chain.domain.wire import Output, parse_transaction

log = logs.logger(__name__)

_hot = telemetry.gauge("chain.hot.sats", "What the hot wallet holds.", unit="{sat}")
_alarm = telemetry.gauge(
    "chain.hot.alarm",
    "-1: the hot wallet is below its floor; 1: above its ceiling; 0: neither.",
    unit="{state}",
)


class Level(StrEnum):
    """Where the hot wallet stands."""

    WITHIN = "within"
    BELOW_FLOOR = "below_floor"
    ABOVE_CEILING = "above_ceiling"


_ALARMS = {Level.WITHIN: 0, Level.BELOW_FLOOR: -1, Level.ABOVE_CEILING: 1}


@dataclass(frozen=True, slots=True)
class HotRule:
    """Floor and ceiling of the hot wallet in satoshis, 0: none; and where to what is above goes, "": nowhere.

    A sweep leaves the middle between both. Raises AddressInvalid, ValueError.
    """

    network: Network
    floor_sats: int = 0
    ceiling_sats: int = 0
    cold_address: str = ""

    def __post_init__(self) -> None:
        if self.ceiling_sats and self.ceiling_sats <= self.floor_sats:
            raise ValueError("the hot wallet's ceiling must be above its floor")
        if self.cold_address:
            key_hash_of(self.cold_address, self.network)

    def level(self, hot_sats: int) -> Level:
        """Where so much stands."""
        if self.ceiling_sats and hot_sats > self.ceiling_sats:
            return Level.ABOVE_CEILING
        return Level.BELOW_FLOOR if hot_sats < self.floor_sats else Level.WITHIN

    def excess(self, hot_sats: int) -> int:
        """What is to be swept of so much."""
        if not self.cold_address or self.level(hot_sats) is not Level.ABOVE_CEILING:
            return 0
        return hot_sats - (self.floor_sats + self.ceiling_sats) // 2


class Sweeping:
    """Watches the level, and makes sweeps. Their `Work`."""

    def __init__(self, *, books: Books, wallet: Wallet, float_: Float, ledger: Ledger, rule: HotRule) -> None:
        self._books = books
        self._wallet = wallet
        self._float = float_
        self._ledger = ledger
        self.rule = rule
        self._said = Level.WITHIN

    def look(self) -> Level:
        """Tells where the hot wallet stands: by metric, and by log when it changes."""
        hot = self._books.hot_sats
        level = self.rule.level(hot)
        _hot.set(hot)
        _alarm.set(_ALARMS[level])
        if level is not self._said:
            say = log.info if level is Level.WITHIN else log.error
            say(f"hot wallet: {level}", hot_sats=hot, excess_sats=self.rule.excess(hot))
            self._said = level
        return level

    async def next(self) -> Tx | None:
        """The next sweep, signed; one at a time. Raises WalletEmpty."""
        excess = self.rule.excess(self._books.hot_sats)
        under_way = any(tx.purpose is Purpose.SWEEP and tx.state in UNMINED for tx in self._books.live())
        if not excess or under_way or self._wallet.frozen:
            return None
        script = p2pkh(key_hash_of(self.rule.cold_address, self.rule.network))
        return await self._float.make(
            Order(
                Purpose.SWEEP,
                jobs=(),
                outputs=(Output(Sats(excess), script),),
                assign=nothing,
                share=lambda _: Shares(due_sats=excess),
            )
        )

    async def signed(self, tx: Tx) -> None:
        """Its coins leave now, and are in flight until it is mined."""

    async def mined(self, tx: Tx) -> None:
        """The ledger hears that they lie at the cold address. The caller holds `settling`."""
        if tx.due_sats:
            await self._ledger.move([_swept(tx)])

    async def unmined(self, tx: Tx) -> None:
        """It is sent again, and stays what it is."""

    async def rejected(self, tx: Tx) -> None:
        """They are back. Whether the ledger had heard may be in doubt: first it hears, then it takes back."""
        await self._ledger.move([_swept(tx)])
        await self._ledger.move([_swept(tx, back=True)])


def _swept(tx: Tx, *, back: bool = False) -> Transfer:
    debit, credit = (COINS_ACCOUNT, COLD_ACCOUNT) if back else (COLD_ACCOUNT, COINS_ACCOUNT)
    id_ = derived_id(tx.created_ns, "unsweep" if back else "sweep", tx.txid)
    return Transfer(id_, debit, credit, parse_transaction(tx.raw).outputs[0].sats, f"sweep:{tx.txid}")
