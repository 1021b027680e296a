"""WhatsOnChain: transactions, proofs, spenders, the mempool, and sending."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from sandbox.explorers.faults import Fault
from sandbox.explorers.index import IndexedBlock
from sandbox.explorers.merkle import MerkleProof
from sandbox.explorers.view import View, answer, checked_hash, hash_in, not_found
from sandbox.explorers.wire import Malformed, read_one
from sandbox.explorers.woc_blocks import Handler
from sandbox.rpc import NodeRefused

TXIDS_MAX = 20
UNKNOWN = "unknown"


class TxHex(BaseModel):
    """Body of POST /tx/raw."""

    txhex: str


class TxIds(BaseModel):
    """Body of the bulk questions."""

    txids: list[str] = Field(max_length=TXIDS_MAX)


async def tx_hex(view: View, request: web.Request) -> web.Response:
    """A raw transaction, as text."""
    return web.Response(text=await _known_hex(view, hash_in(request)))


async def tx_details(view: View, request: web.Request) -> web.Response:
    """A transaction as the node decodes it."""
    return answer(await _details(view, hash_in(request)))


async def bulk_details(view: View, request: web.Request) -> web.Response:
    """The same for several; those unknown are left out."""
    known = [txid for txid in await _txids(request) if "error" not in _status(view, txid)]
    return answer([await _details(view, txid) for txid in known])


async def bulk_hex(view: View, request: web.Request) -> web.Response:
    """Raw transactions of several ids."""
    found = []
    for txid in await _txids(request):
        status = _status(view, txid)
        found.append(status if "error" in status else {**status, "hex": await _known_hex(view, txid)})
    return answer(found)


async def bulk_status(view: View, request: web.Request) -> web.Response:
    """Block and confirmations of several transactions."""
    return answer([_status(view, txid) for txid in await _txids(request)])


async def proof(view: View, request: web.Request) -> web.Response:
    """The TSC proof of a mined transaction; null while it waits."""
    txid = hash_in(request)
    block = view.block_of(txid)
    if block is None:
        await _known_hex(view, txid)
        return answer(None)
    found = MerkleProof.of(txid, block.txids)
    if view.spoils(Fault.BAD_PROOF):
        found = found.spoiled()
    return answer([{"index": found.index, "txOrId": txid, "target": block.hash, "nodes": found.tsc_nodes()}])


async def spent(view: View, request: web.Request) -> web.Response:
    """Who spends an output; not found while nobody does."""
    outpoint = (hash_in(request), int(request.match_info["vout"]))
    spender = view.index.mined.spenders.get(outpoint) or view.index.waiting.spenders.get(outpoint)
    if spender is None:
        raise not_found()
    txid, vin = spender
    status = "confirmed" if view.block_of(txid) else "unconfirmed"
    return answer({"txid": txid, "vin": vin, "status": status})


async def mempool(view: View, _request: web.Request) -> web.Response:
    """Ids of the transactions that wait."""
    return answer(list(view.index.waiting.txs))


async def mempool_info(view: View, _request: web.Request) -> web.Response:
    """The size of the mempool."""
    return answer(await view.rpc.record("getmempoolinfo"))


async def send(view: View, request: web.Request) -> web.Response:
    """Hands a transaction to the node: its id, or the node's words as text."""
    try:
        given = TxHex.model_validate_json(await request.read())
        submitted = read_one(bytes.fromhex(given.txhex))
    except (ValidationError, Malformed, ValueError):
        raise web.HTTPBadRequest(text="unexpected response code 500: TX decode failed") from None
    if view.spoils(Fault.SWALLOW):
        return answer(submitted.txid)
    try:
        return answer(await view.rpc.text("sendrawtransaction", submitted.raw.hex()))
    except NodeRefused as refusal:
        raise web.HTTPBadRequest(text=f"unexpected response code 500: {refusal.reason}") from None


ROUTES: dict[str, Handler] = {
    "GET /tx/hash/{txid}": tx_details,
    "GET /tx/{txid}/hex": tx_hex,
    "GET /tx/{txid}/proof/tsc": proof,
    r"GET /tx/{txid}/{vout:\d{1,9}}/spent": spent,
    "POST /tx/raw": send,
    "POST /txs": bulk_details,
    "POST /txs/hex": bulk_hex,
    "POST /txs/status": bulk_status,
    "GET /mempool/raw": mempool,
    "GET /mempool/info": mempool_info,
}


async def _txids(request: web.Request) -> list[str]:
    try:
        given = TxIds.model_validate_json(await request.read())
    except ValidationError:
        raise web.HTTPBadRequest(text=f"txids: a list of at most {TXIDS_MAX}") from None
    return [checked_hash(txid) for txid in given.txids]


async def _known_hex(view: View, txid: str) -> str:
    try:
        return await view.rpc.text("getrawtransaction", txid)
    except NodeRefused:
        raise not_found() from None


async def _details(view: View, txid: str) -> dict[str, Any]:
    try:
        found = await view.rpc.record("getrawtransaction", txid, True)
    except NodeRefused:
        raise not_found() from None
    for field in ("blockhash", "blockheight", "blocktime", "confirmations", "time"):
        found.pop(field, None)
    if block := view.block_of(txid):
        found |= {**_mined(view, block), "time": block.time}
    return found


def _status(view: View, txid: str) -> dict[str, Any]:
    if block := view.block_of(txid):
        return {"txid": txid, **_mined(view, block)}
    known = txid in view.index.waiting.txs or view.index.block_of(txid)
    return {"txid": txid} if known else {"txid": txid, "error": UNKNOWN}


def _mined(view: View, block: IndexedBlock) -> dict[str, Any]:
    return {
        "blockhash": block.hash,
        "blockheight": block.height,
        "blocktime": block.time,
        "confirmations": view.confirmations(block),
    }
