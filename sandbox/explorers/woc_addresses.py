"""WhatsOnChain: what an address holds, and what it held."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from sandbox.explorers.index import Output
from sandbox.explorers.view import View, answer, number_in
from sandbox.explorers.woc_blocks import Handler
from sandbox.rpc import NodeRpc

HISTORY_PAGE, HISTORY_PAGE_MAX = 100, 1000
ADDRESSES_MAX, BULK_ITEMS_MAX = 20, 20


class Addresses(BaseModel):
    """Body of the bulk questions."""

    addresses: list[str] = Field(max_length=ADDRESSES_MAX)


async def unspent_all(view: View, request: web.Request) -> web.Response:
    """Mined and waiting outputs; those that a waiting transaction spends are marked."""
    head = await _head(view.rpc, request)
    return answer({**head, "result": [*_waiting(view, head), *_mined(view, head)], "error": ""})


async def unspent_mined(view: View, request: web.Request) -> web.Response:
    """Mined outputs."""
    head = await _head(view.rpc, request)
    return answer({**head, "result": list(_mined(view, head)), "error": ""})


async def unspent_waiting(view: View, request: web.Request) -> web.Response:
    """Outputs of waiting transactions."""
    head = await _head(view.rpc, request)
    return answer({**head, "result": list(_waiting(view, head)), "error": ""})


async def balance_mined(view: View, request: web.Request) -> web.Response:
    """Satoshis of mined outputs that no mined transaction spends."""
    head = await _head(view.rpc, request)
    return answer({**head, "confirmed": _sum(_mined(view, head)), "error": ""})


async def balance_waiting(view: View, request: web.Request) -> web.Response:
    """What the mempool adds or takes: negative when it spends."""
    head = await _head(view.rpc, request)
    coming = _sum(item for item in _waiting(view, head) if not item["isSpentInMempoolTx"])
    going = _sum(item for item in _mined(view, head) if item["isSpentInMempoolTx"])
    return answer({**head, "unconfirmed": coming - going, "error": ""})


async def history_mined(view: View, request: web.Request) -> web.Response:
    """Mined transactions that pay it or spend of it: `limit`, `order` (asc, desc), `token` of a page."""
    head = await _head(view.rpc, request)
    limit = number_in(request, "limit", default=HISTORY_PAGE, most=HISTORY_PAGE_MAX)
    first = number_in(request, "token", default=1, most=1 << 40) - 1
    found = _history(view, head["address"])
    if request.query.get("order", "asc") == "desc":
        found.reverse()
    page = found[first : first + limit]
    token = str(first + limit + 1) if first + limit < len(found) else ""
    return answer({**head, "result": page, "nextPageToken": token, "error": ""})


async def history_waiting(view: View, request: web.Request) -> web.Response:
    """Waiting transactions of the address."""
    head = await _head(view.rpc, request)
    return answer({**head, "result": _waiting_history(view, head["address"]), "error": ""})


async def bulk_history_mined(view: View, request: web.Request) -> web.Response:
    """The newest mined transactions of several addresses; of a longer history the token of the next page."""
    found = []
    for head in await _heads(view.rpc, request):
        history = _history(view, head["address"])[::-1]
        token = {"nextPageToken": str(BULK_ITEMS_MAX + 1)} if len(history) > BULK_ITEMS_MAX else {}
        found.append({**head, "result": history[:BULK_ITEMS_MAX], **token, "error": ""})
    return answer(found)


async def bulk_history_waiting(view: View, request: web.Request) -> web.Response:
    """Waiting transactions of several addresses."""
    heads = await _heads(view.rpc, request)
    return answer(
        [{**head, "result": _waiting_history(view, head["address"]), "error": ""} for head in heads]
    )


ROUTES: dict[str, Handler] = {
    "GET /address/{address}/unspent/all": unspent_all,
    "GET /address/{address}/confirmed/unspent": unspent_mined,
    "GET /address/{address}/unconfirmed/unspent": unspent_waiting,
    "GET /address/{address}/confirmed/balance": balance_mined,
    "GET /address/{address}/unconfirmed/balance": balance_waiting,
    "GET /address/{address}/confirmed/history": history_mined,
    "GET /address/{address}/unconfirmed/history": history_waiting,
    "POST /addresses/confirmed/history": bulk_history_mined,
    "POST /addresses/unconfirmed/history": bulk_history_waiting,
}


async def _heads(rpc: NodeRpc, request: web.Request) -> list[dict[str, str]]:
    """Those of the addresses of a bulk question."""
    try:
        given = Addresses.model_validate_json(await request.read())
    except ValidationError:
        raise web.HTTPBadRequest(text=f"addresses: a list of at most {ADDRESSES_MAX}") from None
    return [await _head_of(rpc, address) for address in given.addresses]


async def _head(rpc: NodeRpc, request: web.Request) -> dict[str, str]:
    return await _head_of(rpc, request.match_info["address"])


async def _head_of(rpc: NodeRpc, address: str) -> dict[str, str]:
    """The address and its script's hash; refuses what the node says is no address of this network."""
    found = await rpc.record("validateaddress", address)
    if not found.get("isvalid"):
        raise web.HTTPBadRequest(text="Invalid address")
    script = bytes.fromhex(str(found["scriptPubKey"]))
    return {"address": address, "script": hashlib.sha256(script).digest()[::-1].hex()}


def _outputs(view: View, address: str, *, mined: bool) -> list[Output]:
    """Its outputs that count as mined, or as waiting, lowest block first; what is not seen as mined waits."""
    entries = view.index.mined.by_address.get(address, {}).values()
    if mined:
        return [output for output in entries if view.block_of(output.txid)]
    unseen = [output for output in entries if not view.block_of(output.txid)]
    return [*view.index.waiting.by_address.get(address, {}).values(), *unseen]


def _outpoints(view: View, address: str) -> Iterator[tuple[str, int]]:
    for entries in (view.index.mined, view.index.waiting):
        yield from entries.by_address.get(address, {})


def _mined(view: View, head: dict[str, str]) -> Iterator[dict[str, object]]:
    for output in _outputs(view, head["address"], mined=True):
        spender = view.index.mined.spenders.get((output.txid, output.vout))
        block = view.block_of(output.txid)
        if block is not None and (spender is None or not view.block_of(spender[0])):
            yield {"height": block.height, **_item(view, output), "status": "confirmed"}


def _waiting(view: View, head: dict[str, str]) -> Iterator[dict[str, object]]:
    for output in _outputs(view, head["address"], mined=False):
        yield {**_item(view, output), "hex": output.script_hex, "status": "unconfirmed"}


def _item(view: View, output: Output) -> dict[str, object]:
    outpoint = (output.txid, output.vout)
    spent = outpoint in view.index.waiting.spenders or outpoint in view.index.mined.spenders
    return {
        "tx_pos": output.vout,
        "tx_hash": output.txid,
        "value": output.sats,
        "isSpentInMempoolTx": spent,
    }


def _history(view: View, address: str) -> list[dict[str, object]]:
    """Each transaction once, lowest block first."""
    mined = view.index.mined
    txids = set()
    for outpoint in mined.by_address.get(address, {}):
        txids.add(outpoint[0])
        if outpoint in mined.spenders:
            txids.add(mined.spenders[outpoint][0])
    found = [(block.height, txid) for txid in txids if (block := view.block_of(txid))]
    return [{"tx_hash": txid, "height": height} for height, txid in sorted(found)]


def _waiting_history(view: View, address: str) -> list[dict[str, object]]:
    """Each waiting transaction once."""
    index = view.index
    paying = {output.txid for output in _outputs(view, address, mined=False)}
    owned = {*_outpoints(view, address)}
    spending = {txid for outpoint, (txid, _) in index.waiting.spenders.items() if outpoint in owned}
    return [{"tx_hash": txid} for txid in sorted(paying | spending)]


def _sum(items: Iterator[dict[str, object]]) -> int:
    return sum(int(str(item["value"])) for item in items)
