"""The wallet: signatures that the world's vectors confirm, and payments that a real node takes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bsv.compat import bsm
from bsv.keys import PrivateKey, PublicKey

from sandbox.regtest import Coin, Regtest
from sandbox.rpc import NodeRpc
from sandbox.wallet import Broadcast, NotEnoughCoins, Payment, Wallet, WalletRefusal, fee_for

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bsm.json").read_text())["vectors"]


async def funded(regtest: Regtest, *sats: int) -> Wallet:
    wallet = Wallet.random()
    for amount in sats:
        wallet.receive(await regtest.fund(wallet.address, amount))
    await regtest.mine(1)
    return wallet


def check_payment(payment: Payment, paid_sats: int) -> None:
    change = payment.change.sats if payment.change else 0
    assert sum(coin.sats for coin in payment.spent) == paid_sats + change + payment.fee_sats
    assert payment.fee_sats >= fee_for(len(payment.raw_hex) // 2)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "wif" in v], ids=lambda v: v["source"])
def test_it_signs_as_the_published_vectors_do(vector: dict[str, str]) -> None:
    assert Wallet(PrivateKey(vector["wif"])).sign_message(vector["message"]) == vector["signature"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if "pubkey" in v and "UniSat" not in v["source"]], ids=lambda v: v["source"]
)
def test_published_signatures_verify_by_the_same_digest(vector: dict[str, str]) -> None:
    assert bsm.verify(vector["message"].encode(), vector["signature"], PublicKey(vector["pubkey"]))


def test_its_own_signatures_verify_and_name_its_key() -> None:
    wallet = Wallet.from_seed("viewer 1")
    text = "Satreel log-in\nnonce: ☕ 1234"
    assert bsm.verify(text.encode(), wallet.sign_message(text), PublicKey(wallet.public_key_hex))
    assert not bsm.verify(b"another", wallet.sign_message(text), PublicKey(wallet.public_key_hex))


def test_seeds_give_keys_and_keys_stay_hidden() -> None:
    assert Wallet.from_seed("a").address == Wallet.from_seed("a").address
    assert len({Wallet.from_seed("a").address, Wallet.from_seed("b").address, Wallet.random().address}) == 3
    assert repr(Wallet.from_seed("a")) == f"Wallet({Wallet.from_seed('a').address})"
    assert Wallet.from_seed("a").address[0] in "mn"


async def test_fund_pay_and_confirm(regtest: Regtest, node_rpc: NodeRpc) -> None:
    payer, payee = await funded(regtest, 100_000), Wallet.random()
    payment = payer.pay(payee.address, 60_000)
    check_payment(payment, 60_000)
    assert payer.balance_sats == 0
    assert await payer.broadcast(payment, node_rpc) is Broadcast.ACCEPTED
    assert await payer.broadcast(payment, node_rpc) is Broadcast.ACCEPTED
    await regtest.mine(1)

    transaction = await node_rpc.record("getrawtransaction", payment.txid, True)
    assert transaction["confirmations"] == 1
    assert payer.balance_sats == 40_000 - payment.fee_sats
    assert [coin.sats for coin in payee.receive_from(payment.raw_hex)] == [60_000]
    assert await payer.broadcast(payment, node_rpc) is Broadcast.ACCEPTED


async def test_all_coins_in_one_payment_without_change(regtest: Regtest, node_rpc: NodeRpc) -> None:
    payer = await funded(regtest, 1_000, 2_000, 3_000)
    payment = payer.pay(Wallet.random().address, 5_950)
    check_payment(payment, 5_950)
    assert payment.change is None
    assert len(payment.spent) == 3
    assert await payer.broadcast(payment, node_rpc) is Broadcast.ACCEPTED


async def test_a_double_spend_stays_unknown(regtest: Regtest, node_rpc: NodeRpc) -> None:
    payer = await funded(regtest, 10_000)
    [coin] = payer.coins
    first = payer.pay(Wallet.random().address, 4_000)
    assert await payer.broadcast(first, node_rpc) is Broadcast.ACCEPTED
    payer.receive(coin)  # as a thief would keep it
    second = Wallet.pay(payer, Wallet.random().address, 8_000)
    assert coin in second.spent
    assert await payer.broadcast(second, node_rpc) is Broadcast.UNKNOWN
    assert coin not in payer.coins


async def test_a_forged_payment_is_rejected_and_the_coins_return(regtest: Regtest, node_rpc: NodeRpc) -> None:
    payer = await funded(regtest, 10_000)
    before = payer.coins
    payment = payer.pay(Wallet.random().address, 4_000)
    amount = (4_000).to_bytes(8, "little").hex()
    raised = payment.raw_hex.replace(amount, (4_001).to_bytes(8, "little").hex())
    forged = dataclasses.replace(payment, raw_hex=raised)
    assert await payer.broadcast(forged, node_rpc) is Broadcast.REJECTED
    assert payer.coins == before


async def test_no_answer_is_no_rejection(regtest: Regtest) -> None:
    payer = await funded(regtest, 10_000)
    payment = payer.pay(Wallet.random().address, 4_000)
    async with NodeRpc("http://a:b@127.0.0.1:9") as nobody:
        assert await payer.broadcast(payment, nobody) is Broadcast.UNKNOWN
    assert payer.coins == ()


@pytest.mark.parametrize(
    ("address", "sats"),
    [
        ("1F3sAm6ZtwLAUnj7d38pGFxtP3RVEvtsbV", 1_000),
        ("nonsense", 1_000),
        ("", 1_000),
        (Wallet.from_seed("x").address, 0),
        (Wallet.from_seed("x").address, -1),
    ],
)
def test_a_bad_order_changes_nothing(address: str, sats: int) -> None:
    wallet = wallet_with(5_000)
    before = wallet.coins
    with pytest.raises(WalletRefusal):
        wallet.pay(address, sats)
    assert wallet.coins == before


def test_too_few_coins_are_said_with_numbers() -> None:
    wallet = wallet_with(5_000)
    with pytest.raises(NotEnoughCoins, match="5000 sat are there, 5020 sat are needed"):
        wallet.pay(Wallet.random().address, 5_000)
    assert wallet.balance_sats == 5_000


def test_a_strangers_coin_is_not_taken() -> None:
    wallet = Wallet.random()
    with pytest.raises(WalletRefusal):
        wallet.receive(wallet_with(5_000).coins[0])
    assert wallet.coins == ()


def wallet_with(sats: int) -> Wallet:
    wallet = Wallet.from_seed("owner")
    wallet.receive(Coin("aa" * 32, 0, sats, f"76a914{key_hash(wallet)}88ac"))
    return wallet


def key_hash(wallet: Wallet) -> str:
    return PublicKey(wallet.public_key_hex).hash160().hex()
