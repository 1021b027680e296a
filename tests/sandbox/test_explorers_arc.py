"""ARC's shapes and a transaction's life over the real node: sent, contested, mined, mined in vain, told."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import pytest
from bsv.merkle_path import MerklePath

from sandbox.explorers.merkle import MerkleProof
from sandbox.node import BsvNode
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.wallet import Payment, Wallet
from tests.fixtures_explorers import House, Json, Receiver, extended, running_house

MERKLE_ROOT = "merkleroot"


async def twins(regtest: Regtest) -> tuple[Payment, Payment]:
    """Two payments of one mined coin."""
    seed = uuid.uuid4().hex
    wallets = Wallet.from_seed(seed), Wallet.from_seed(seed)
    coin = await regtest.fund(wallets[0].address, 50_000)
    await regtest.mine(1)
    for wallet in wallets:
        wallet.receive(coin)
    one, other = (wallet.pay(wallet.address, sats) for wallet, sats in zip(wallets, (1, 2), strict=True))
    return one, other


async def check_mined(house: House, found: Json) -> None:
    """It names a block of the best chain, and its path leads to that block's root."""
    header = await house.get(f"/block/{found['blockHash']}/header")
    path = MerklePath.from_hex(found["merklePath"])
    assert header["confirmations"] >= 1
    assert found["blockHeight"] == header["height"] == path.block_height
    assert path.compute_root(found["txid"]) == header[MERKLE_ROOT]


async def test_a_life_told_in_full(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    payment = wallet.pay(wallet.address, 1000)
    answer = await house.submit(payment.raw_hex, headers=receiver.headers(full=True))
    assert (answer["txid"], answer["txStatus"]) == (payment.txid, "SEEN_ON_NETWORK")
    assert (answer["status"], answer["title"], answer["merklePath"]) == (200, "OK", "")
    assert (await receiver.next())["txStatus"] == "SEEN_ON_NETWORK"
    await regtest.mine(1)
    mined = await receiver.next()
    assert mined["txStatus"] == "MINED"
    await check_mined(house, mined)
    assert await house.arc(f"/v1/tx/{payment.txid}") == mined
    again = await house.submit(payment.raw_hex, headers=receiver.headers(full=True))
    assert again["txStatus"] == "MINED"
    assert receiver.got.empty()


@pytest.mark.parametrize("size", [2, 3, 5, 6, 7, 8])
def test_bumps_of_every_place_in_a_block(size: int) -> None:
    txids = [hashlib.sha256(bytes([number])).hexdigest() for number in range(size)]
    roots = set()
    for index, txid in enumerate(txids):
        bump = MerkleProof.of(txid, txids).bump_hex(800_000)
        path = MerklePath.from_hex(bump)
        roots.add(path.compute_root(txid))
        assert path.block_height == 800_000
        assert bytes.fromhex(bump)[6:8] == bytes([2, min(index, index ^ 1)])  # the leaves stand in order
        width = size
        for level in path.path:  # a leaf beyond the end of its level is a duplicate, and no other is
            assert all(leaf.get("duplicate", False) is (leaf["offset"] >= width) for leaf in level)
            width = -(-width // 2)
    assert len(roots) == 1


async def test_the_small_steps_are_told_on_request_only(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    await house.submit(wallet.pay(wallet.address, 1000).raw_hex, headers=receiver.headers())
    await regtest.mine(1)
    assert (await receiver.next())["txStatus"] == "MINED"
    assert receiver.tries == 1


async def test_every_form_of_submission(house: House, regtest: Regtest, node_rpc: NodeRpc) -> None:
    payments = [(await twins(regtest))[0] for _ in range(6)]
    raw = [payment.raw_hex for payment in payments]
    ef = [await extended(payment, node_rpc) for payment in payments]
    text, stream = {"Content-Type": "text/plain"}, {"Content-Type": "application/octet-stream"}
    one = [
        await house.submit(raw[0]),
        await house.submit(ef[1]),
        await house.submit(ef[2].encode(), headers=text),
        await house.submit(bytes.fromhex(ef[3]), headers=stream),
    ]
    assert [found["txid"] for found in one] == [payment.txid for payment in payments[:4]]
    both = [payment.txid for payment in payments[4:]]
    rest: list[tuple[object, dict[str, str]]] = [
        ([{"rawTx": raw[4]}, {"rawTx": ef[5]}], {}),
        (f"{ef[4]}\n{raw[5]}\n".encode(), text),
        (bytes.fromhex(raw[4] + ef[5]), stream),
    ]
    for body, headers in rest:
        answers = await house.submit(body, path="/v1/txs", headers=headers)
        assert [(found["txid"], found["txStatus"]) for found in answers] == [
            (txid, "SEEN_ON_NETWORK") for txid in both
        ]
    assert {payment.txid for payment in payments} <= set(await node_rpc.texts("getrawmempool"))
    await regtest.mine(1)
    for payment in payments:
        await check_mined(house, await house.until(payment.txid, "MINED"))


async def test_waiting_for_a_status(house: House, wallet: Wallet, regtest: Regtest) -> None:
    payment = wallet.pay(wallet.address, 1000)
    early = await house.submit(payment.raw_hex, headers={"X-WaitFor": "MINED", "X-MaxTimeout": "0"})
    assert early["txStatus"] == "SEEN_ON_NETWORK"
    waiting = asyncio.create_task(
        house.submit(payment.raw_hex, headers={"X-WaitFor": "MINED", "X-MaxTimeout": "30"})
    )
    await regtest.mine(1)
    assert (await waiting)["txStatus"] == "MINED"


async def test_a_reorganisation_is_told(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    payment = wallet.pay(wallet.address, 1000)
    await house.submit(payment.raw_hex, headers=receiver.headers())
    (lost,) = await regtest.mine(1)
    assert (await receiver.next())["blockHash"] == lost
    await regtest.invalidate(lost)
    stale = await receiver.next()
    assert (stale["txStatus"], stale["blockHash"]) == ("MINED_IN_STALE_BLOCK", lost)
    (won, _) = await regtest.mine(2)
    mined = await receiver.next()
    assert (mined["txStatus"], mined["blockHash"]) == ("MINED", won)
    await check_mined(house, mined)


async def test_a_double_spend_is_contested_until_one_is_mined(
    house: House, receiver: Receiver, regtest: Regtest
) -> None:
    one, other = await twins(regtest)
    await house.submit(one.raw_hex, headers=receiver.headers())
    answer = await house.submit(other.raw_hex)
    assert (answer["txStatus"], answer["competingTxs"]) == ("DOUBLE_SPEND_ATTEMPTED", [one.txid])
    told = await receiver.next()
    assert (told["txStatus"], told["competingTxs"]) == ("DOUBLE_SPEND_ATTEMPTED", [other.txid])
    await regtest.mine(1)
    mined = await receiver.next()
    assert (mined["txid"], mined["txStatus"], mined["competingTxs"]) == (one.txid, "MINED", None)
    rejected = await house.until(other.txid, "REJECTED")
    assert (rejected["competingTxs"], rejected["blockHash"]) == ([one.txid], "")
    late = await house.submit(other.raw_hex)
    assert late["txStatus"] == "REJECTED"


async def test_a_child_may_come_before_its_parent(house: House, wallet: Wallet, node_rpc: NodeRpc) -> None:
    parent = wallet.pay(wallet.address, 1000)
    assert parent.change is not None
    wallet.receive(parent.change)
    child = wallet.pay(wallet.address, 500)
    refused = await house.submit(child.raw_hex, status=460)
    assert (refused["status"], refused["txid"]) == (460, child.txid)
    await house.arc(f"/v1/tx/{child.txid}", status=404)
    ef = await extended(child, node_rpc, parents={parent.txid: parent.raw_hex})
    assert (await house.submit(ef))["txStatus"] == "SEEN_IN_ORPHAN_MEMPOOL"
    await house.submit(parent.raw_hex)
    await house.until(child.txid, "SEEN_ON_NETWORK")


def with_fee(payment: Payment, more_sats: int) -> str:
    """The payment with its first output changed: another fee, and a signature that no longer holds."""
    coin = payment.change
    assert coin is not None
    value = coin.sats.to_bytes(8, "little").hex()
    return payment.raw_hex.replace(value, (coin.sats - more_sats).to_bytes(8, "little").hex())


async def test_what_is_invalid_is_said_with_its_number(
    house: House, wallet: Wallet, node_rpc: NodeRpc
) -> None:
    payment = wallet.pay(wallet.address, 1000)
    forged = await house.submit(with_fee(payment, 10), status=461)
    assert forged["type"].endswith("errors?id=_461")
    assert set(forged) == {"type", "title", "status", "detail", "instance", "txid", "extraInfo"}
    cheap = await house.submit(with_fee(payment, -payment.fee_sats), status=465)
    assert "a fee of 0 sat is too low" in cheap["extraInfo"]
    both = await house.submit([{"rawTx": with_fee(payment, -1)}, {"rawTx": payment.raw_hex}], path="/v1/txs")
    assert [found["status"] for found in both] == [465, 200]
    assert both[1]["txStatus"] == "SEEN_ON_NETWORK"
    for refused in (forged, cheap, both[0]):
        await house.arc(f"/v1/tx/{refused['txid']}", status=404)
    waiting = await node_rpc.texts("getrawmempool")
    assert payment.txid in waiting
    assert not {refused["txid"] for refused in (forged, cheap, both[0])} & set(waiting)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("", {}),
        ("xyz", {}),
        ("00ff", {}),
        ({}, {}),
        ([], {}),
        (b"xyz", {"Content-Type": "text/plain"}),
        (b"\x01\x00", {"Content-Type": "application/octet-stream"}),
        (b"<tx/>", {"Content-Type": "application/xml"}),
    ],
)
async def test_bodies_that_are_wrong(body: object, headers: dict[str, str], house: House) -> None:
    assert (await house.submit(body, status=400, headers=headers))["title"] == "Bad request"


async def test_headers_that_are_wrong(house: House, wallet: Wallet) -> None:
    raw = wallet.pay(wallet.address, 1000).raw_hex
    for headers in ({"X-MaxTimeout": "31"}, {"X-MaxTimeout": "x"}, {"X-CallbackUrl": "ftp://a/b"}):
        await house.submit(raw, status=400, headers=headers)
    assert (await house.submit(raw, status=401, headers={"Authorization": "Bearer another"}))[
        "title"
    ] == "Unauthorized"
    await house.submit([{"rawTx": raw}] * 1001, path="/v1/txs", status=400)


async def test_policy_and_health(house: House) -> None:
    policy = (await house.arc("/v1/policy"))["policy"]
    assert policy["miningFee"] == {"satoshis": 100, "bytes": 1000}
    async with house.http.get(house.explorers.arc_url + "/v1/health") as answer:
        assert (await answer.json())["healthy"] is True


async def test_without_a_node_it_says_so(bsv_node: BsvNode) -> None:
    async with running_house(bsv_node, node_url="http://a:b@127.0.0.1:9") as house:
        assert (await house.arc("/v1/health"))["healthy"] is False
        await house.get("/chain/info", status=500)
        await house.submit("01000000" + "00" * 6, status=409)


async def test_a_callback_is_tried_again(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    receiver.answers = 500
    await house.submit(wallet.pay(wallet.address, 1000).raw_hex, headers=receiver.headers())
    await regtest.mine(1)
    async with asyncio.timeout(30):
        while receiver.tries < 2:
            await asyncio.sleep(0.01)
    receiver.answers = 200
    assert (await receiver.next())["txStatus"] == "MINED"


async def test_callbacks_in_batches(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    headers = receiver.headers() | {"X-CallbackBatch": "true"}
    txids = []
    for _ in range(3):
        payment = wallet.pay(wallet.address, 1000)
        await house.submit(payment.raw_hex, headers=headers)
        txids.append(payment.txid)
        assert payment.change is not None
        wallet.receive(payment.change)
    await regtest.mine(1)
    batch = await receiver.next()
    assert (batch["count"], [one["txStatus"] for one in batch["callbacks"]]) == (3, ["MINED"] * 3)
    assert [one["txid"] for one in batch["callbacks"]] == txids
    assert receiver.tries == 1
