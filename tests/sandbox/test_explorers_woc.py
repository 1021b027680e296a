"""WhatsOnChain's shapes over the real node, checked by what a client can check: work, links, Merkle roots."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sys
import uuid
from pathlib import Path

import aiohttp
import pytest

from sandbox.explorers.headers import header_bytes
from sandbox.explorers.server import running_explorers
from sandbox.node import BsvNode
from sandbox.process import LOOPBACK, free_port, start_child
from sandbox.regtest import Regtest
from sandbox.rpc import NodeRpc
from sandbox.wallet import Wallet
from tests.fixtures_explorers import House, Json, explorers_settings

NOBODY = "ab" * 32


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def root_of(proof: Json) -> str:
    """The Merkle root that a TSC proof leads to."""
    node, index = bytes.fromhex(proof["txOrId"])[::-1], proof["index"]
    for sibling in proof["nodes"]:
        other = bytes.fromhex(sibling)[::-1]
        node = sha256d(other + node if index % 2 else node + other)
        index //= 2
    return node[::-1].hex()


def twins() -> tuple[Wallet, Wallet]:
    """Two wallets of one new key."""
    seed = uuid.uuid4().hex
    return Wallet.from_seed(seed), Wallet.from_seed(seed)


async def test_headers_hash_to_their_hash_and_hang_together(house: House, regtest: Regtest) -> None:
    await regtest.mine(10)
    info = await house.get("/chain/info")
    assert (info["chain"], info["blocks"]) == ("regtest", await regtest.height())
    assert info["bestblockhash"] == await regtest.tip()
    newest = await house.get("/block/headers")
    assert [header["height"] for header in newest] == list(range(info["blocks"], info["blocks"] - 10, -1))
    for above, below in itertools.pairwise(newest):
        assert sha256d(header_bytes(above))[::-1].hex() == above["hash"]
        assert above["previousblockhash"] == below["hash"]
    by_height = await house.get(f"/block/{info['blocks'] - 1}/header")
    assert by_height == await house.get(f"/block/{newest[1]['hash']}/header") == newest[1]
    assert (by_height["confirmations"], newest[0]["nextblockhash"]) == (2, "")
    latest = await house.get("/block/headers/latest?count=2")
    assert latest == header_bytes(newest[1]) + header_bytes(newest[0])
    files = await house.get("/block/headers/resources")
    assert files["files"][-1].endswith("/v1/bsv/regtest/block/headers/latest")
    assert len(await house.get("/block/headers/latest")) == 80 * (info["blocks"] + 1)
    assert (
        await house.get("/block/headers/0_1_headers.bin") == (await house.get("/block/headers/latest"))[:160]
    )


async def test_a_block_that_lost_is_marked(house: House, regtest: Regtest) -> None:
    (lost,) = await regtest.mine(1)
    await regtest.invalidate(lost)
    await regtest.mine(2)
    await regtest.reconsider(lost)
    stale = await house.get(f"/block/{lost}/header")
    assert stale["confirmations"] == -1
    await house.get(f"/block/hash/{lost}", status=404)
    tips = await house.get("/chain/tips")
    assert tips[0]["hash"] == await regtest.tip()
    assert {"hash": lost, "branchlen": 1, "height": stale["height"], "status": "valid-fork"} in tips


@pytest.mark.parametrize("payments", [0, 1, 2, 4, 6])
async def test_proofs_of_whole_blocks_lead_to_their_roots(
    payments: int, house: House, regtest: Regtest
) -> None:
    await regtest.mine(1)
    coins = [await regtest.fund(Wallet.random().address, 1000) for _ in range(payments)]
    (block_hash,) = await regtest.mine(1)
    block = await house.get(f"/block/hash/{block_hash}")
    assert len(block["tx"]) == block["txcount"] == payments + 1
    assert {coin.txid for coin in coins} <= set(block["tx"])
    assert await house.get(f"/block/height/{block['height']}") == block
    assert await house.get(f"/block/hash/{block_hash}/page/1") == block["tx"]
    for index, txid in enumerate(block["tx"]):
        (proof,) = await house.get(f"/tx/{txid}/proof/tsc")
        assert (proof["index"], proof["txOrId"], proof["target"]) == (index, txid, block_hash)
        assert root_of(proof) == block["merkleroot"]


async def test_a_transaction_that_waits_is_mined_and_spent(
    house: House, regtest: Regtest, node_rpc: NodeRpc
) -> None:
    wallet = Wallet.random()
    coin = await regtest.fund(wallet.address, 5000)
    txid = coin.txid
    raw = await node_rpc.text("getrawtransaction", txid)
    assert await house.get(f"/tx/{txid}/hex") == raw
    assert await house.get(f"/tx/{txid}/proof/tsc") is None
    assert txid in await house.get("/mempool/raw")
    assert (await house.get("/mempool/info"))["size"] >= 1
    assert await house.post("/txs/status", {"txids": [txid, NOBODY]}) == [
        {"txid": txid},
        {"txid": NOBODY, "error": "unknown"},
    ]
    (block_hash,) = await regtest.mine(1)
    (mined,) = await house.post("/txs/hex", {"txids": [txid]})
    header = await house.get(f"/block/{block_hash}/header")
    assert mined == {
        "txid": txid,
        "hex": raw,
        "blockhash": block_hash,
        "blockheight": header["height"],
        "blocktime": header["time"],
        "confirmations": 1,
    }
    details = await house.get(f"/tx/hash/{txid}")
    assert (details["blockhash"], details["confirmations"]) == (block_hash, 1)
    assert details["vout"][coin.vout]["value"] == 0.00005
    assert await house.post("/txs", {"txids": [txid, NOBODY]}) == [details]
    await house.get(f"/tx/{txid}/{coin.vout}/spent", status=404)
    wallet.receive(coin)
    payment = wallet.pay(Wallet.random().address, 1000)
    assert await house.post("/tx/raw", {"txhex": payment.raw_hex}) == payment.txid
    spender = await house.get(f"/tx/{txid}/{coin.vout}/spent")
    assert spender == {"txid": payment.txid, "vin": 0, "status": "unconfirmed"}
    await regtest.mine(1)
    assert (await house.get(f"/tx/{txid}/{coin.vout}/spent"))["status"] == "confirmed"


async def test_what_an_address_holds(house: House, regtest: Regtest) -> None:
    wallet, place = Wallet.random(), ""
    coin = await regtest.fund(wallet.address, 7000)
    place = f"/address/{wallet.address}"
    (waiting,) = (await house.get(f"{place}/unspent/all"))["result"]
    assert (waiting["tx_hash"], waiting["tx_pos"], waiting["value"]) == (coin.txid, coin.vout, 7000)
    assert (waiting["status"], waiting["hex"]) == ("unconfirmed", coin.script_hex)
    assert (await house.get(f"{place}/unconfirmed/balance"))["unconfirmed"] == 7000
    await regtest.mine(1)
    (mined,) = (await house.get(f"{place}/confirmed/unspent"))["result"]
    assert (mined["height"], mined["isSpentInMempoolTx"]) == (await regtest.height(), False)
    wallet.receive(coin)
    payment = wallet.pay(Wallet.random().address, 1000)
    await house.post("/tx/raw", {"txhex": payment.raw_hex})
    held = (await house.get(f"{place}/unspent/all"))["result"]
    assert [(item["value"], item["isSpentInMempoolTx"]) for item in held] == [
        (7000 - 1000 - payment.fee_sats, False),
        (7000, True),
    ]
    assert (await house.get(f"{place}/confirmed/balance"))["confirmed"] == 7000
    assert (await house.get(f"{place}/unconfirmed/balance"))["unconfirmed"] == -1000 - payment.fee_sats
    assert (await house.get(f"{place}/unconfirmed/history"))["result"] == [{"tx_hash": payment.txid}]
    await regtest.mine(1)
    assert (await house.get(f"{place}/unconfirmed/history"))["result"] == []
    first = await house.get(f"{place}/confirmed/history?limit=1")
    second = await house.get(f"{place}/confirmed/history?limit=1&token={first['nextPageToken']}")
    assert [page["result"][0]["tx_hash"] for page in (first, second)] == [coin.txid, payment.txid]
    assert second["nextPageToken"] == ""
    newest = await house.get(f"{place}/confirmed/history?order=desc")
    assert [item["tx_hash"] for item in newest["result"]] == [payment.txid, coin.txid]


async def test_a_reorganisation_takes_coins_out_of_the_books(house: House, regtest: Regtest) -> None:
    wallet = Wallet.random()
    await regtest.fund(wallet.address, 900)
    place = f"/address/{wallet.address}/confirmed/balance"
    hashes = await regtest.mine(3)
    assert (await house.get(place))["confirmed"] == 900
    await regtest.invalidate(hashes[0])
    assert (await house.get(place))["confirmed"] == 0
    await regtest.mine(1)
    assert (await house.get(place))["confirmed"] == 900


async def test_a_coinbase_that_lost_leaves_nothing(house: House, regtest: Regtest) -> None:
    wallet = Wallet.random()
    (lost,) = await regtest.mine(1, wallet.address)
    place = f"/address/{wallet.address}"
    assert len((await house.get(f"{place}/unspent/all"))["result"]) == 1
    await regtest.invalidate(lost)
    await regtest.mine(2)
    assert (await house.get(f"{place}/unspent/all"))["result"] == []
    assert (await house.get(f"{place}/confirmed/history"))["result"] == []


async def test_the_nodes_words_come_as_text(house: House, regtest: Regtest) -> None:
    one, other = twins()
    coin = await regtest.fund(one.address, 5000)
    await regtest.mine(1)
    one.receive(coin)
    other.receive(coin)
    first, second = one.pay(one.address, 1000), other.pay(other.address, 2000)
    await house.post("/tx/raw", {"txhex": first.raw_hex})
    refused = await house.post("/tx/raw", {"txhex": second.raw_hex}, status=400)
    assert refused == "unexpected response code 500: 258: txn-mempool-conflict"
    again = await house.post("/tx/raw", {"txhex": first.raw_hex}, status=400)
    assert again.startswith("unexpected response code 500: Transaction already in the mempool")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/tx/{NOBODY}/hex", 404),
        (f"/tx/{NOBODY}/proof/tsc", 404),
        (f"/tx/hash/{NOBODY}", 404),
        (f"/block/{NOBODY}/header", 404),
        ("/block/99999999/header", 404),
        ("/block/height/99999999", 404),
        ("/tx/xyz/hex", 400),
        ("/block/hash/xyz", 400),
        ("/address/1BoatSLRHtKNngkdXEeobR76b53LETtpyT/unspent/all", 400),  # of another network
        ("/address/nobody/confirmed/balance", 400),
        ("/block/headers/latest?count=0", 400),
        ("/nothing", 404),
    ],
)
async def test_what_is_unknown_or_wrong(path: str, status: int, house: House) -> None:
    assert isinstance(await house.get(path, status=status), str)


async def test_bodies_that_are_wrong(house: House) -> None:
    wrong: list[object] = [{}, [], {"txids": [NOBODY] * 21}, {"txids": ["xyz"]}, {"txids": [1]}]
    for body in wrong:
        for path in ("/txs", "/txs/hex", "/txs/status"):
            await house.post(path, body, status=400)
    wrong = [{}, {"txhex": "xyz"}, {"txhex": "00"}, {"txhex": 5}]
    for body in wrong:
        assert "TX decode failed" in await house.post("/tx/raw", body, status=400)


async def test_without_a_key_three_a_second(house: House) -> None:
    async def ask(path: str) -> tuple[int, str]:
        async with house.http.get(house.explorers.woc_url + path) as answer:
            return answer.status, await answer.text()

    assert [(await ask("/woc"))[0] for _ in range(3)] == [200] * 3
    for path in ("/woc", "/chain/info"):
        # A busy machine may take a second for three.
        while (told := await ask(path))[0] == 200:
            pass
        assert told == (429, "Too Many Requests")
    assert await house.get("/woc") == "Whats On Chain"
    await house.get("/chain/info", key="another", status=401)
    await asyncio.sleep(1.05)
    await house.get("/chain/info", key="")
    async with house.http.get(house.explorers.woc_url.replace("regtest", "main") + "/woc") as answer:
        assert answer.status == 404


async def headers_on(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[Json]:
    return [(await socket.receive_json(timeout=30))["pub"]["data"] for _ in range(count)]


async def test_the_socket_tells_headers(house: House, regtest: Regtest) -> None:
    async with house.http.ws_connect(house.explorers.woc_socket_url) as socket:
        await socket.send_json({})
        assert "connect" in await socket.receive_json(timeout=30)
        hashes = await regtest.mine(2)
        told = await headers_on(socket, 2)
        assert [header["hash"] for header in told] == hashes
        assert told[1]["previousblockhash"] == hashes[0]
        assert (told[1]["height"], told[1]["bits"]) == (await regtest.height(), 0x207FFFFF)
        await regtest.invalidate(hashes[0])
        branch = await regtest.mine(3)
        assert [header["hash"] for header in await headers_on(socket, 3)] == branch
        await socket.send_str("ping")
        assert await socket.receive_str(timeout=30) == "pong"
    top = await regtest.height()
    url = f"{house.explorers.woc_socket_url}/history?from={top - 2}&to={top}"
    async with house.http.ws_connect(url) as socket:
        await socket.send_json({})
        assert "connect" in await socket.receive_json(timeout=30)
        assert [header["hash"] for header in await headers_on(socket, 3)] == branch
        assert (await socket.receive_json(timeout=30))["disconnect"]["reason"] == "Data Delivered"


async def test_it_closes_with_a_socket_open(bsv_node: BsvNode) -> None:
    async with aiohttp.ClientSession() as http:
        async with running_explorers(explorers_settings(bsv_node)) as explorers:
            socket = await http.ws_connect(explorers.woc_socket_url)
            await socket.send_json({})
            await socket.receive_json(timeout=30)
        assert (await socket.receive(timeout=30)).type is aiohttp.WSMsgType.CLOSE
        await socket.close()


async def test_it_runs_as_a_process(bsv_node: BsvNode, tmp_path: Path) -> None:
    port = free_port()
    env = {
        "PATH": "",
        "PYTHONPATH": ":".join(sys.path),
        "SATREEL_SANDBOX_EXPLORERS_NODE_URL": bsv_node.url,
        "SATREEL_SANDBOX_EXPLORERS_PORT": str(port),
    }
    argv = [sys.executable, "-m", "sandbox.explorers"]
    child = await start_child("explorers", argv, log_path=tmp_path / "log", env=env)
    async with aiohttp.ClientSession() as http, asyncio.timeout(50):
        while True:
            try:
                async with http.get(f"http://{LOOPBACK}:{port}/v1/bsv/regtest/chain/info") as answer:
                    assert (await answer.json())["chain"] == "regtest"
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    await child.stop()
    assert child.exit_code == 0
    assert f"ARC stand-in at http://{LOOPBACK}:{port}/arc" in child.log_tail()
