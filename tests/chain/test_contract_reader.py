"""What every `ChainReader` keeps, over one real node: asked directly, and through WhatsOnChain."""

from __future__ import annotations

import secrets

import pytest

from sandbox.regtest import Coin, Regtest
from services.chain.app.ports import ChainReader
from services.chain.domain.header import Block
from services.chain.domain.keys import FLOAT, KeyPath, KeyRing, KeyUse
from services.chain.domain.scan import Interest
from services.chain.domain.spending import ChangeRule, Spendable, draft, sign
from services.chain.domain.values import BlockHash, Network, Outpoint, Sats, Txid
from services.chain.domain.wire import Output, txid_of
from tests.chain.outside import Outside

READERS = ("node", "whatsonchain")
UNKNOWN = "ab" * 32


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, outside: Outside) -> ChainReader:
    return outside.node if request.param == "node" else outside.reader()


class Purse:
    """Keys of one run, and what concerns them."""

    def __init__(self, deposits: int = 3) -> None:
        self.keys = KeyRing(secrets.token_bytes(64), Network.REGTEST)
        self.paths = [FLOAT, *(KeyPath(KeyUse.DEPOSIT, index) for index in range(deposits))]

    def interest(self, own: tuple[str, ...] = (), coins: tuple[Outpoint, ...] = ()) -> Interest:
        watched = {self.keys.key(path).script: path for path in self.paths}
        return Interest(watched, tuple(map(Txid, own)), coins, tuple(watched))

    def spend(self, coin: Coin, path: KeyPath, *, sats: int = 1_000) -> bytes:
        """A transaction that spends a coin paid to this path."""
        point = Outpoint(Txid(coin.txid), coin.vout)
        spendable = Spendable(point, Sats(coin.sats), path, self.keys.key(path).script)
        output = Output(Sats(sats), self.keys.key(FLOAT).script)
        rule = ChangeRule(self.keys.key(FLOAT).script, 1, 1_000, 20)
        return sign(draft([output], [spendable], rule, 100), self.keys.key).raw


async def block_of(reader: ChainReader, block_hash: str) -> Block:
    await reader.best()
    found = await reader.header(BlockHash(block_hash))
    assert found is not None
    return Block.first(found.header, found.height, 0)


async def test_the_best_block_and_headers(reader: ChainReader, regtest: Regtest) -> None:
    [tip] = await regtest.mine()
    assert await reader.best() == tip
    found = await reader.header(BlockHash(tip))
    assert found is not None
    assert (found.header.hash, found.height, found.confirmations) == (tip, await regtest.height(), 1)
    assert await reader.hash_at(found.height) == tip
    assert await reader.hash_at(0) == await regtest.rpc.text("getblockhash", 0)
    assert await reader.hash_at(found.height + 1) is None
    assert await reader.header(BlockHash(UNKNOWN)) is None


async def test_an_orphaned_block_is_known_and_not_on_the_chain(reader: ChainReader, regtest: Regtest) -> None:
    [orphan] = await regtest.mine()
    await regtest.invalidate(orphan)
    await regtest.mine(2)
    found = await reader.header(BlockHash(orphan))
    assert found is None or found.confirmations == -1


async def test_payments_wait_and_are_found_in_their_block(reader: ChainReader, regtest: Regtest) -> None:
    purse = Purse()
    coins = [await regtest.fund(purse.keys.address(path), 5_000 + n) for n, path in enumerate(purse.paths)]
    txids = [Txid(coin.txid) for coin in coins]
    assert set(txids) <= set(await reader.pending(purse.interest()))
    assert await reader.waiting([*txids, Txid(UNKNOWN)]) == set(txids)
    raws = await reader.transactions([*txids, Txid(UNKNOWN)])
    assert {txid_of(raw) for raw in raws.values()} == set(raws) == set(txids)

    [mined] = await regtest.mine()
    found = await reader.findings(await block_of(reader, mined), purse.interest())
    assert {(pay.outpoint, pay.sats, pay.path, pay.coinbase) for pay in found.payments} == {
        (Outpoint(Txid(coin.txid), coin.vout), coin.sats, path, False)
        for coin, path in zip(coins, purse.paths, strict=True)
    }
    assert (found.ours, found.conflicts) == ([], [])
    assert await reader.waiting(txids) == set()
    [empty] = await regtest.mine()
    assert (await reader.findings(await block_of(reader, empty), purse.interest())).payments == []


async def test_our_own_are_known_again_and_a_rival_is_told(
    reader: ChainReader, outside: Outside, regtest: Regtest
) -> None:
    purse = Purse()
    coins = [await regtest.fund(purse.keys.address(path), 50_000) for path in purse.paths[:2]]
    await regtest.mine()
    ours, rival = (purse.spend(coin, path) for coin, path in zip(coins, purse.paths, strict=False))
    for raw in (ours, rival):
        await regtest.rpc.text("sendrawtransaction", raw.hex())
    [mined] = await regtest.mine()
    points = tuple(Outpoint(Txid(coin.txid), coin.vout) for coin in coins)
    interest = purse.interest((txid_of(ours),), points)
    found = await reader.findings(await block_of(reader, mined), interest)
    assert found.ours == [txid_of(ours)]
    assert [(one.outpoint, one.txid) for one in found.conflicts] == [(points[1], txid_of(rival))]


async def test_outputs_are_unspent_until_something_spends_them(
    reader: ChainReader, outside: Outside, regtest: Regtest
) -> None:
    purse = Purse()
    coins = [await regtest.fund(purse.keys.address(path), 50_000) for path in purse.paths[:2]]
    points = [Outpoint(Txid(coin.txid), coin.vout) for coin in coins]
    asked = [*points, Outpoint(Txid(UNKNOWN), 0)]
    assert await reader.unspent(asked) == set(points), "waiting to be mined"
    await regtest.mine()
    assert await reader.unspent(asked) == set(points), "mined"
    await regtest.rpc.text("sendrawtransaction", purse.spend(coins[0], purse.paths[0]).hex())
    assert await reader.unspent(asked) == {points[1]}, "spent by what waits"
    await regtest.mine()
    assert await reader.unspent(asked) == {points[1]}, "spent in a block"


async def test_a_coinbase_that_pays_us_is_one(reader: ChainReader, regtest: Regtest) -> None:
    purse = Purse()
    [mined] = await regtest.mine(1, purse.keys.address(FLOAT))
    [payment] = (await reader.findings(await block_of(reader, mined), purse.interest())).payments
    assert (payment.path, payment.coinbase) == (FLOAT, True)


async def test_many_addresses_and_a_long_history(reader: ChainReader, regtest: Regtest) -> None:
    purse = Purse(deposits=45)
    busy = purse.keys.address(FLOAT)
    first = [await regtest.fund(busy, 1_000 + n) for n in range(25)]
    await regtest.mine()
    last = await regtest.fund(busy, 2_000)
    other = await regtest.fund(purse.keys.address(purse.paths[44]), 3_000)
    [mined] = await regtest.mine()
    found = await reader.findings(await block_of(reader, mined), purse.interest())
    assert {pay.outpoint.txid for pay in found.payments} == {last.txid, other.txid}
    below = await regtest.rpc.text("getblockhash", await regtest.height() - 1)
    found = await reader.findings(await block_of(reader, below), purse.interest())
    assert {pay.outpoint.txid for pay in found.payments} == {coin.txid for coin in first}
