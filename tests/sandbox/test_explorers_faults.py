"""Each bad day of the WhatsOnChain and ARC stand-ins, as a client meets it, and the control of them."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from bsv.merkle_path import MerklePath

from sandbox.explorers.faults import Fault, Faults
from sandbox.explorers.headers import header_bytes
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.wallet import Wallet
from tests.fixtures_explorers import TOKEN, House, Receiver
from tests.sandbox.test_explorers_woc import headers_on, root_of, sha256d

BITS_TARGET = 0x7FFFFF << 8 * (0x20 - 3)


def has_work(header: dict[str, object]) -> bool:
    digest = sha256d(header_bytes(header))
    assert digest[::-1].hex() == header["hash"]  # the lie is elsewhere
    return int.from_bytes(digest, "little") <= BITS_TARGET


async def test_answers_that_are_none(house: House) -> None:
    for kind in (Fault.HTTP_429, Fault.HTTP_500, Fault.HTML):
        house.faults.add(kind)
    assert await house.get("/chain/info", status=429) == "Too Many Requests"
    assert await house.get("/chain/info", status=500) == "Internal Server Error"
    assert (await house.get("/chain/info")).startswith("<html>")
    assert (await house.get("/chain/info"))["chain"] == "regtest"
    house.faults.add(Fault.HTML, at="GET /arc/*")
    assert (await house.get("/chain/info"))["chain"] == "regtest"
    assert (await house.arc("/v1/policy")).startswith("<html>")


async def test_connections_that_break_or_hang(house: House) -> None:
    house.faults.add(Fault.RESET, times=2)  # aiohttp asks again, once, when the line of a GET breaks
    with pytest.raises(aiohttp.ClientConnectionError):
        await house.get("/chain/info")
    house.faults.add(Fault.SILENCE, seconds=600)
    hanging = asyncio.create_task(house.get("/chain/info"))
    async with asyncio.timeout(60):
        while house.faults.waiting():
            await asyncio.sleep(0.01)
    assert not (await asyncio.wait([hanging], timeout=0.2))[0]
    hanging.cancel()
    house.faults.add(Fault.SLOW, seconds=0.2)
    before = time.monotonic()
    await house.get("/chain/info")
    assert time.monotonic() - before >= 0.2


async def test_an_effect_without_an_answer(house: House, wallet: Wallet, node_rpc: NodeRpc) -> None:
    payment = wallet.pay(wallet.address, 1000)
    house.faults.add(Fault.RESET, at="POST /arc/v1/tx")
    with pytest.raises(aiohttp.ClientConnectionError):
        await house.submit(payment.raw_hex)
    assert payment.txid not in await node_rpc.texts("getrawmempool")
    house.faults.add(Fault.ANSWER_LOST, at="POST /arc/v1/tx")
    with pytest.raises(aiohttp.ClientConnectionError):
        await house.submit(payment.raw_hex)
    assert payment.txid in await node_rpc.texts("getrawmempool")
    assert (await house.arc(f"/v1/tx/{payment.txid}"))["txStatus"] == "SEEN_ON_NETWORK"


async def test_a_source_that_lags_and_jumps_back(house: House, wallet: Wallet, regtest: Regtest) -> None:
    payment = wallet.pay(wallet.address, 1000)
    await house.submit(payment.raw_hex)
    hashes = await regtest.mine(3)
    height = await regtest.height()
    house.faults.add(Fault.BEHIND, blocks=3, times=None)
    info = await house.get("/chain/info")
    assert (info["blocks"], info["bestblockhash"] in hashes) == (height - 3, False)
    assert (await house.get("/chain/tips"))[0]["height"] == height - 3
    assert (await house.get("/block/headers"))[0]["hash"] == info["bestblockhash"]
    for path in (f"/block/{hashes[0]}/header", f"/block/hash/{hashes[0]}", f"/block/{height}/header"):
        await house.get(path, status=404)
    assert await house.post("/txs/status", {"txids": [payment.txid]}) == [{"txid": payment.txid}]
    assert await house.get(f"/tx/{payment.txid}/proof/tsc") is None
    house.faults.reset()
    assert (await house.get("/chain/info"))["bestblockhash"] == hashes[-1]
    (status,) = await house.post("/txs/status", {"txids": [payment.txid]})
    assert status["confirmations"] == 3


async def test_headers_that_lie(house: House, regtest: Regtest) -> None:
    hashes = await regtest.mine(2)
    true = await house.get(f"/block/{hashes[1]}/header")
    assert has_work(true)
    house.faults.add(Fault.BAD_WORK)
    assert not has_work(await house.get(f"/block/{hashes[1]}/header"))
    house.faults.add(Fault.BAD_LINK)
    loose = await house.get("/block/headers")
    assert has_work(loose[0])
    assert loose[0]["previousblockhash"] not in {loose[1]["hash"], true["previousblockhash"]}
    house.faults.add(Fault.BAD_WORK)
    assert (await house.get("/block/headers/latest?count=1")) != header_bytes(true)
    assert await house.get(f"/block/{hashes[1]}/header") == true


async def test_headers_that_lie_on_the_socket(house: House, regtest: Regtest) -> None:
    async with house.http.ws_connect(house.explorers.woc_socket_url) as socket:
        await socket.send_json({})
        await socket.receive_json(timeout=30)
        for kind in (Fault.BAD_WORK, Fault.BAD_LINK, Fault.BEHIND, Fault.SILENCE):
            house.faults.add(kind, at="WS *")
        first, second, third, fourth, fifth = [(await regtest.mine(1))[0] for _ in range(5)]
        spoiled, loose, old, true = await headers_on(socket, 4)
        assert spoiled["hash"] != first
        assert loose["previousblockhash"] != first != loose["hash"]
        assert old["hash"] in {second, third, fourth}  # as it was told when more had come
        assert true["hash"] == fifth
        house.faults.add(Fault.RESET, at="WS *")
        await regtest.mine(1)
        assert (await socket.receive(timeout=30)).type is aiohttp.WSMsgType.CLOSE


async def test_proofs_that_lie(house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest) -> None:
    payment = wallet.pay(wallet.address, 1000)
    await house.submit(payment.raw_hex, headers=receiver.headers())
    house.faults.add(Fault.BAD_PROOF, at="CALLBACK *")
    (block_hash,) = await regtest.mine(1)
    told = await receiver.next()
    root = (await house.get(f"/block/{block_hash}/header"))["merkleroot"]
    assert MerklePath.from_hex(told["merklePath"]).compute_root(payment.txid) != root
    true = await house.arc(f"/v1/tx/{payment.txid}")
    assert MerklePath.from_hex(true["merklePath"]).compute_root(payment.txid) == root
    house.faults.add(Fault.BAD_PROOF)
    (proof,) = await house.get(f"/tx/{payment.txid}/proof/tsc")
    assert root_of(proof) != root
    (proof,) = await house.get(f"/tx/{payment.txid}/proof/tsc")
    assert root_of(proof) == root


async def test_contested_until_mined(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    payment = wallet.pay(wallet.address, 1000)
    house.faults.add(Fault.DOUBLE_SPEND)
    answer = await house.submit(payment.raw_hex, headers=receiver.headers())
    assert answer["txStatus"] == "DOUBLE_SPEND_ATTEMPTED"
    assert len(answer["competingTxs"]) == 1
    assert (await receiver.next())["competingTxs"] == answer["competingTxs"]
    await regtest.mine(1)
    mined = await receiver.next()
    assert (mined["txStatus"], mined["competingTxs"]) == ("MINED", None)


async def test_yes_is_said_and_nothing_is_sent(
    house: House, wallet: Wallet, regtest: Regtest, node_rpc: NodeRpc
) -> None:
    payment = wallet.pay(wallet.address, 1000)
    for kind_of in ("arc", "woc"):
        house.faults.add(Fault.SWALLOW)
        if kind_of == "arc":
            assert (await house.submit(payment.raw_hex))["txStatus"] == "SEEN_ON_NETWORK"
        else:
            assert await house.post("/tx/raw", {"txhex": payment.raw_hex}) == payment.txid
        await regtest.mine(1)
        assert payment.txid not in await node_rpc.texts("getrawmempool")
        assert (await house.arc(f"/v1/tx/{payment.txid}"))["txStatus"] == "SEEN_ON_NETWORK"
    await house.post("/tx/raw", {"txhex": payment.raw_hex})  # another sender gets it mined
    await regtest.mine(1)
    await house.until(payment.txid, "MINED")


async def test_problems_of_every_number(house: House, wallet: Wallet, node_rpc: NodeRpc) -> None:
    payment = wallet.pay(wallet.address, 1000)
    for status in (409, 460, 463, 464, 466, 467, 473):
        house.faults.add(Fault.PROBLEM, status=status)
        problem = await house.submit(payment.raw_hex, status=status)
        assert (problem["status"], problem["type"][-3:]) == (status, str(status))
    assert payment.txid not in await node_rpc.texts("getrawmempool")
    assert (await house.submit(payment.raw_hex))["txStatus"] == "SEEN_ON_NETWORK"


async def test_callbacks_that_go_astray(
    house: House, receiver: Receiver, wallet: Wallet, regtest: Regtest
) -> None:
    kinds = (Fault.CALLBACK_LOST, Fault.CALLBACK_DOUBLED, Fault.CALLBACK_FORGED, Fault.CALLBACK_LATE)
    for kind in kinds:
        house.faults.add(kind, at="CALLBACK MINED", seconds=0.3)
    txids = []
    for _ in kinds:
        payment = wallet.pay(wallet.address, 1000)
        await house.submit(payment.raw_hex, headers=receiver.headers())
        txids.append(payment.txid)
        assert payment.change is not None
        wallet.receive(payment.change)
    began = time.monotonic()
    await regtest.mine(1)
    got = [await asyncio.wait_for(receiver.got.get(), 30) for _ in range(4)]
    assert time.monotonic() - began >= 0.3
    lost, doubled, forged, late = txids
    told = sorted((body["txid"], token == f"Bearer {TOKEN}") for token, body in got)  # in any order
    assert told == sorted([(doubled, True), (doubled, True), (forged, False), (late, True)])
    assert (await house.arc(f"/v1/tx/{lost}"))["txStatus"] == "MINED"
    assert receiver.got.empty()


async def test_the_control_over_http(house: House) -> None:
    url = house.explorers.control_url
    order = {"kind": "http_500", "at": "*/chain/info", "times": 2, "probability": 1}
    async with house.http.post(url, json={"reset": True, "faults": [order]}) as answer:
        assert (await answer.json())["waiting"][0]["times"] == 2
    await house.get("/chain/tips")
    await house.get("/chain/info", status=500)
    async with house.http.get(url) as answer:
        assert [(f["kind"], f["times"]) for f in (await answer.json())["waiting"]] == [("http_500", 1)]
    wrong: list[object] = [
        {"faults": [{"kind": "nothing"}]},
        {"faults": [{"kind": "html", "times": 0}]},
        {"faults": [{"kind": "html", "probability": 2}]},
        {"faults": [order] * 101},
        {"fault": []},
        [],
    ]
    for body in wrong:
        async with house.http.post(url, json=body) as answer:
            assert answer.status == 400
    await house.get("/chain/info", status=500)
    await house.get("/chain/info")


def test_a_fault_meets_what_it_can_spoil_and_no_more() -> None:
    faults = Faults(seed=1)
    faults.add(Fault.BAD_PROOF)
    assert faults.take("GET /v1/bsv/regtest/chain/info") is None
    assert faults.take("GET /v1/bsv/regtest/tx/aa/proof/tsc") is not None
    assert faults.take("GET /v1/bsv/regtest/tx/aa/proof/tsc") is None
    faults.add(Fault.HTTP_429, times=None, probability=0.25)
    met = sum(faults.take("GET /arc/v1/policy") is not None for _ in range(1000))
    assert 200 < met < 300
    faults.reset()
    assert faults.waiting() == []
