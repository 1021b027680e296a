"""A BSV node over JSON-RPC: typed outcomes, amounts never as floats, every call with a deadline.

Only reads are repeated after a failure of the line. Sending never is: its outcome is UNKNOWN then.
"""

from __future__ import annotations

import asyncio
import base64
import json
import mmap
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

import aiohttp

from mesh import logs, telemetry
from services.chain.adapters.downloads import PIECE_BYTES, save_hex_result
from services.chain.adapters.verdicts import meaning
from services.chain.app.ports import Broadcast, Found, Sent
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.header import Block, Header
from services.chain.domain.scan import Findings, Interest, scan_block
from services.chain.domain.values import BlockHash, Outpoint, Txid
from services.chain.domain.wire import Output

log = logs.logger(__name__)

CONNECTIONS_MAX = 8
BATCH_MAX = 200
READ_ATTEMPTS = 3
RETRY_PAUSE_S = 0.2
BLOCK_TIMEOUT_S, BLOCK_PAUSE_S = 1800.0, 120.0
"""For a whole block, and between two pieces of it: a node takes its time to write out gigabytes."""

RPC_NOT_FOUND = -5
RPC_OUT_OF_RANGE = -8

_BY_CODE = {-27: Broadcast.ACCEPTED, -22: Broadcast.REJECTED}  # has it already; cannot be decoded

_duration = telemetry.durations("chain.node.duration", "Time a call to the node took.", by=("method",))


class NodeRefused(NodeUnavailable):
    """The node answered with an error: where nobody knows what it means, another source may be asked."""

    def __init__(self, method: str, rpc_code: int, text: str) -> None:
        super().__init__(f"{method}: {rpc_code} {text}")
        self.rpc_code = rpc_code
        self.text = text


@asynccontextmanager
async def open_node(url: str, timeout_s: float) -> AsyncIterator[RpcNode]:
    """The node at http://user:password@host:port; its credentials never reach a log."""
    parts = urlsplit(url)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield RpcNode(session, f"{parts.scheme}://{parts.hostname}:{parts.port}/", timeout_s)


class RpcNode:
    """`ChainReader` and `Broadcaster` over JSON-RPC."""

    def __init__(self, session: aiohttp.ClientSession, address: str, timeout_s: float) -> None:
        self._session = session
        self._address = address
        self._timeout_s = timeout_s

    async def best(self) -> BlockHash:
        """Hash of its best block."""
        return BlockHash(_text(await self._read("getbestblockhash")))

    async def header(self, block_hash: BlockHash) -> Found | None:
        """A header, or None when the node does not know the block."""
        found = await self._header(block_hash)
        if found is None or found.confirmations >= 0:
            return found
        return replace(found, condemned=await self._condemned(block_hash, found.height))

    async def _header(self, block_hash: str) -> Found | None:
        try:
            return _found(await self._read("getblockheader", block_hash, True))
        except NodeRefused as refused:
            if refused.rpc_code == RPC_NOT_FOUND:
                return None
            raise

    async def _condemned(self, block_hash: BlockHash, height: int) -> bool:
        """Whether this block is on a branch that the node gave up as invalid."""
        for tip, tip_height, fork_height in _invalid_tips(await self._read("getchaintips")):
            if fork_height < height <= tip_height:
                wanted = tip
                for _ in range(tip_height - height):
                    above = await self._header(wanted)
                    wanted = above.header.previous_hash if above else wanted
                if wanted == block_hash:
                    return True
        return False

    async def hash_at(self, height: int) -> BlockHash | None:
        """The block at this height of its best chain."""
        try:
            return BlockHash(_text(await self._read("getblockhash", height)))
        except NodeRefused as refused:
            if refused.rpc_code == RPC_OUT_OF_RANGE:
                return None
            raise

    async def findings(self, block: Block, interest: Interest) -> Findings:
        """What in this block concerns us: the whole of it is looked at."""
        with tempfile.TemporaryFile() as file:
            await self._download(block.hash, file)
            try:
                return await asyncio.to_thread(_scan_file, file, block.header, interest)
            except ValueError as problem:
                raise SourceLies(f"getblock {block.hash}: {problem}") from problem

    async def _download(self, block_hash: BlockHash, file: BinaryIO) -> None:
        body = json.dumps({"id": 0, "method": "getblock", "params": [block_hash, 0]})
        deadline = aiohttp.ClientTimeout(total=BLOCK_TIMEOUT_S, sock_read=BLOCK_PAUSE_S)
        try:
            async with self._session.post(self._address, data=body, timeout=deadline) as reply:
                _acknowledge(reply)
                if reply.status != 200:
                    raise NodeUnavailable(f"getblock {block_hash}: HTTP {reply.status}")
                await save_hex_result(reply.content.iter_chunked(PIECE_BYTES), file)
        except TimeoutError as problem:
            raise NodeUnavailable(f"getblock {block_hash}: it takes too long") from problem
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise NodeUnavailable(f"getblock {block_hash}: {type(problem).__name__} {problem}") from problem

    async def overlooked(
        self, blocks: Sequence[Block], interest: Interest, *, afresh: bool
    ) -> Mapping[BlockHash, Findings]:
        """Nothing: blocks are read whole."""
        return {}

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        """Sends a transaction; what is not certain is UNKNOWN."""
        try:
            await self._call("sendrawtransaction", raw.hex())
        except NodeRefused as refused:
            outcome = _BY_CODE.get(refused.rpc_code) or meaning(refused.text)
            return Sent(outcome, f"{refused.rpc_code} {refused.text}")
        except NodeUnavailable as problem:
            return Sent(Broadcast.UNKNOWN, problem.message)
        return Sent(Broadcast.ACCEPTED)

    async def ask(self, txid: Txid) -> Sent:
        """What it knows of a transaction: a yes while it waits to be mined."""
        try:
            there = await self.waiting([txid])
        except NodeUnavailable as problem:
            return Sent(Broadcast.UNKNOWN, problem.message)
        return Sent(Broadcast.ACCEPTED if there else Broadcast.UNKNOWN)

    async def pending(self, interest: Interest) -> Sequence[Txid]:
        """All transactions that wait to be mined."""
        found = await self._read("getrawmempool")
        if not isinstance(found, list):
            raise NodeUnavailable("getrawmempool did not answer with a list")
        return [Txid(_text(txid)) for txid in found]

    async def waiting(self, txids: Sequence[Txid]) -> set[Txid]:
        """Those of the transactions that are in the mempool."""
        answers = await self._batch("getmempoolentry", txids)
        return {txid for txid, answer in answers.items() if isinstance(answer, dict)}

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        """Raw transactions, those that the node knows."""
        answers = await self._batch("getrawtransaction", txids)
        try:
            return {txid: bytes.fromhex(raw) for txid, raw in answers.items() if isinstance(raw, str)}
        except ValueError as problem:
            raise NodeUnavailable("getrawtransaction did not answer with hex") from problem

    async def unspent(self, outpoints: Sequence[Outpoint]) -> set[Outpoint]:
        """Those of the outputs that are there and that no transaction spends."""
        found: set[Outpoint] = set()
        for point in outpoints:
            if await self._read("gettxout", point.txid, point.vout, True) is not None:
                found.add(point)
        return found

    async def proof(self, txid: Txid) -> object | None:
        """The TSC proof that a transaction is in a block, as JSON; None: in none. The node needs -txindex."""
        try:
            return await self._read("getmerkleproof2", "", txid)
        except NodeRefused as refused:
            if refused.rpc_code == RPC_NOT_FOUND:
                return None
            raise

    def blame(self, why: str, *, lied: bool) -> None:
        """Nothing: whoever has several sources draws the conclusions."""

    async def _batch(self, method: str, txids: Sequence[Txid]) -> dict[Txid, object]:
        """The same call for many transactions; None for those that the node does not know."""
        found: dict[Txid, object] = {}
        for start in range(0, len(txids), BATCH_MAX):
            chunk = txids[start : start + BATCH_MAX]
            body = [{"id": place, "method": method, "params": [txid]} for place, txid in enumerate(chunk)]
            answers = await self._retried(method, body, self._timeout_s)
            if not isinstance(answers, list) or len(answers) != len(chunk):
                raise NodeUnavailable(f"{method}: not one answer for each call of the batch")
            for answer in answers:
                match answer:
                    case {"id": int(place), "error": None, "result": result} if place < len(chunk):
                        found[chunk[place]] = result
                    case {"id": int(place), "error": {"code": -5}} if place < len(chunk):
                        found[chunk[place]] = None
                    case _:
                        raise NodeUnavailable(f"{method}: {answer!r:.200}")
        return found

    async def _read(self, method: str, *params: object, timeout_s: float | None = None) -> object:
        body = {"id": 0, "method": method, "params": params}
        return _result(method, await self._retried(method, body, timeout_s or self._timeout_s))

    async def _call(self, method: str, *params: object) -> object:
        body = {"id": 0, "method": method, "params": params}
        return _result(method, await self._post(method, body, self._timeout_s))

    async def _retried(self, method: str, body: object, timeout_s: float) -> object:
        for attempt in range(1, READ_ATTEMPTS):
            try:
                return await self._post(method, body, timeout_s)
            except NodeUnavailable:
                await asyncio.sleep(RETRY_PAUSE_S * attempt)
        return await self._post(method, body, timeout_s)

    async def _post(self, method: str, body: object, timeout_s: float) -> object:
        deadline = aiohttp.ClientTimeout(total=timeout_s)
        began = asyncio.get_running_loop().time()
        named = {"rpc.system.name": "jsonrpc", "rpc.method": method, "service.peer.name": "bsv-node"}
        try:
            with telemetry.tracer.outgoing(method, named):
                async with self._session.post(
                    self._address, data=json.dumps(body), timeout=deadline
                ) as reply:
                    _acknowledge(reply)
                    text = await reply.text()
            if reply.status in (401, 403):
                raise NodeUnavailable("the node does not accept this user and password")
        except TimeoutError as problem:
            raise NodeUnavailable(f"{method}: no answer within {timeout_s} s") from problem
        except (aiohttp.ClientError, UnicodeDecodeError) as problem:
            raise NodeUnavailable(f"{method}: {type(problem).__name__}") from problem
        finally:
            _duration.record(asyncio.get_running_loop().time() - began, {"method": method})
        try:
            found: object = json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError) as problem:
            raise NodeUnavailable(f"{method}: HTTP {reply.status} without JSON") from problem
        return found


def _acknowledge(reply: aiohttp.ClientResponse) -> None:
    """Acknowledges the reply's head at once.

    The node writes head and body apart, and sends the body when the head is acknowledged, which Linux would
    otherwise put off by 40 ms.
    """
    transport = reply.connection.transport if reply.connection is not None else None
    line = transport.get_extra_info("socket") if transport is not None else None
    if line is not None and hasattr(socket, "TCP_QUICKACK"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _result(method: str, reply: object) -> object:
    match reply:
        case {"error": None, "result": result}:
            return result
        case {"error": {"code": int(code), "message": str(text)}}:
            raise NodeRefused(method, code, text)
    raise NodeUnavailable(f"{method}: not a JSON-RPC answer")


def _scan_file(file: BinaryIO, header: Header, interest: Interest) -> Findings:
    """Raises ValueError. Of the block as much is in memory at a time as one transaction takes."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        return scan_block(cast("bytes", raw), header, interest)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NodeUnavailable(f"the node answered {type(value).__name__} where a text was due")
    return value


def _invalid_tips(value: object) -> list[tuple[str, int, int]]:
    """Hash and height of each invalid branch's tip, and the height where the branch forks off."""
    tips: list[tuple[str, int, int]] = []
    for tip in value if isinstance(value, list) else ():
        match tip:
            case {
                "status": "invalid",
                "hash": str(hash_),
                "height": int(height),
                "branchlen": int(length),
            }:
                tips.append((hash_, height, height - length))
    return tips


def _found(value: object) -> Found:
    match value:
        case {
            "version": int(version),
            "merkleroot": str(root),
            "time": int(time_s),
            "bits": str(bits),
            "nonce": int(nonce),
            "height": int(height),
            "confirmations": int(confirmations),
            **rest,
        }:
            previous = BlockHash(str(rest.get("previousblockhash", "")))
            try:
                header = Header(version, previous, root, time_s, int(bits, 16), nonce)
                return Found(Header.parse(bytes(header)), height, confirmations)
            except (ValueError, struct.error) as problem:
                raise NodeUnavailable(f"getblockheader: {problem}") from problem
    raise NodeUnavailable("getblockheader answered in an unknown form")
