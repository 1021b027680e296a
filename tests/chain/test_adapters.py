"""What a node's answers are taken to mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from services.chain.adapters.node import RpcNode, open_node
from services.chain.app.ports import Broadcast
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.header import Block
from services.chain.domain.scan import Interest
from services.chain.domain.values import BlockHash, Network, Outpoint, Txid

NOTHING = Interest({}, (), (), ())
GENESIS = Block.first(CONSENSUS[Network.REGTEST].genesis, 0, 0)


class Answers:
    """A server that answers what a test tells it to."""

    def __init__(self) -> None:
        self.queue: list[tuple[int, str]] = []
        self.asked = 0

    async def handle(self, _: web.Request) -> web.Response:
        self.asked += 1
        status, text = self.queue.pop(0) if len(self.queue) > 1 else self.queue[0]
        return web.Response(status=status, text=text)

    def error(self, code: int, text: str) -> None:
        self.queue = [(500, json.dumps({"result": None, "error": {"code": code, "message": text}, "id": 0}))]

    def result(self, result: object) -> None:
        self.queue = [(200, json.dumps({"result": result, "error": None, "id": 0}))]


@pytest_asyncio.fixture
async def answers() -> AsyncIterator[tuple[Answers, RpcNode]]:
    found = Answers()
    app = web.Application()
    app.router.add_post("/", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with open_node(f"http://user:se%3Acret@127.0.0.1:{port}", 60.0) as node:
        yield found, node
    await runner.cleanup()


@pytest.mark.parametrize(
    ("code", "text", "outcome"),
    [
        (-27, "Transaction already in the mempool", Broadcast.ACCEPTED),
        (-27, "transaction already in block chain", Broadcast.ACCEPTED),
        (-26, "257: txn-already-known", Broadcast.ACCEPTED),
        (-26, "16: mandatory-script-verify-flag-failed (...)", Broadcast.REJECTED),
        (-26, "66: insufficient priority", Broadcast.REFUSED),
        (-26, "64: dust", Broadcast.REFUSED),
        (-22, "TX decode failed", Broadcast.REJECTED),
        (-26, "64: too-long-mempool-chain", Broadcast.UNKNOWN),
        (-26, "258: txn-mempool-conflict", Broadcast.CONTESTED),
        (-25, "Missing inputs", Broadcast.UNKNOWN),
        (-28, "Loading block index...", Broadcast.UNKNOWN),
    ],
)
async def test_what_the_node_says_to_a_transaction(
    answers: tuple[Answers, RpcNode], code: int, text: str, outcome: Broadcast
) -> None:
    server, node = answers
    server.error(code, text)
    sent = await node.send(b"\x01", ())
    assert (sent.outcome, sent.reason, server.asked) == (outcome, f"{code} {text}", 1)


@pytest.mark.parametrize(
    "answer",
    [(502, "<html>Bad gateway</html>"), (200, ""), (200, "[]"), (200, "{}"), (401, ""), (200, '{"error":1}')],
)
async def test_answers_that_are_none_are_unknown_and_sent_once(
    answers: tuple[Answers, RpcNode], answer: tuple[int, str]
) -> None:
    server, node = answers
    server.queue = [answer]
    assert (await node.send(b"\x01", ())).outcome is Broadcast.UNKNOWN
    assert server.asked == 1
    with pytest.raises(NodeUnavailable) as problem:
        await node.best()
    assert "cret" not in str(problem.value)


async def test_reads_are_repeated_a_few_times(answers: tuple[Answers, RpcNode]) -> None:
    server, node = answers
    server.queue = [(502, ""), (502, ""), (200, '{"result": "ab", "error": null, "id": 0}')]
    assert await node.best() == "ab"
    assert server.asked == 3


@pytest.mark.parametrize("wrong", [None, 3, [], {}, {"hash": "a"}])
async def test_malformed_results_are_refused(answers: tuple[Answers, RpcNode], wrong: object) -> None:
    server, node = answers
    server.result(wrong)
    for call in (
        node.best(),
        node.header(BlockHash("ab")),
        node.hash_at(1),
        node.findings(GENESIS, NOTHING),
        node.waiting([Txid("ab")]),
    ):
        with pytest.raises(NodeUnavailable):
            await call


async def test_a_node_that_is_not_there_is_unavailable() -> None:
    async with open_node("http://127.0.0.1:9", 0.5) as node:
        assert (await node.send(b"\x01", ())).outcome is Broadcast.UNKNOWN
        with pytest.raises(NodeUnavailable):
            await node.pending(NOTHING)


async def test_a_node_that_is_starting_is_unavailable(answers: tuple[Answers, RpcNode]) -> None:
    """Whoever has another source asks that one, and nothing ends."""
    server, node = answers
    server.error(-28, "Loading block index...")
    point = Outpoint(Txid("11" * 32), 0)
    for call in (node.best(), node.pending(NOTHING), node.unspent([point])):
        with pytest.raises(NodeUnavailable, match="Loading"):
            await call


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"id": 0, "error": null, "result": "no hex"}]'])
async def test_transactions_that_are_none_are_no_answer(answers: tuple[Answers, RpcNode], text: str) -> None:
    server, node = answers
    server.queue = [(200, text)]
    with pytest.raises(NodeUnavailable):
        await node.transactions([Txid("11" * 32)])
