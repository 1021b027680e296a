"""A wallet of many coins: looked through without deriving the key of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from services.chain.app.orders import Order, nothing
from services.chain.domain.entities import Coin
from services.chain.domain.keys import KeyPath, KeyRing, KeyUse, SigningKey
from services.chain.domain.spending import sign
from services.chain.domain.states import CoinState
from services.chain.domain.values import Network, Outpoint, Purpose, Sats, Txid
from services.chain.domain.wire import Output, parse_transaction
from tests.chain.chainsim import SimNode
from tests.chain.world import SEED, open_rig, opened_store

COINS = 100


class CountingRing(KeyRing):
    """Says which keys were asked for."""

    def __init__(self) -> None:
        super().__init__(SEED, Network.REGTEST)
        self.asked: list[KeyPath] = []

    def key(self, path: KeyPath) -> SigningKey:
        self.asked.append(path)
        return super().key(path)


async def test_only_the_keys_of_chosen_coins_are_derived(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig, ring = await open_rig(store, SimNode()), CountingRing()
        rig.world = replace(rig.world, keys=ring)
        await rig.restart()
        paths = [KeyPath(KeyUse.DEPOSIT, index) for index in range(COINS)]
        for index, path in enumerate(paths):
            point = Outpoint(Txid(f"{index:064x}"), index)
            await rig.desk.books.add_coin(Coin(point, Sats(1_000 + index), path, CoinState.FREE))
        ring.asked.clear()
        order = Order(Purpose.WALLET, (), (Output(Sats(2_000), b"\x51" * 25),), nothing)
        found = rig.desk.wallet.draft(order)
        assert ring.asked == []
        largest = paths[:-3:-1]
        assert [coin.path for coin in found.inputs] == largest
        signed = sign(found, ring.key)
        assert ring.asked == largest
        explicit = [replace(coin, script=ring.key(coin.path).script) for coin in found.inputs]
        assert sign(replace(found, inputs=tuple(explicit)), ring.key) == signed
        assert parse_transaction(signed.raw).spends == tuple(coin.outpoint for coin in found.inputs)
