"""The chain as one request to WhatsOnChain sees it, and the shapes that its answers share."""

from __future__ import annotations

import functools
import json
import re
from decimal import Decimal

from aiohttp import web

from sandbox.explorers import headers
from sandbox.explorers.faults import Fault, FaultOrder
from sandbox.explorers.headers import Header
from sandbox.explorers.index import ChainIndex, IndexedBlock
from sandbox.rpc import NodeRefused, NodeRpc

HASH = re.compile(r"[0-9a-f]{64}")
_LIES = (Fault.BAD_WORK, Fault.BAD_LINK)


class View:
    """One node's chain, in step with it; with the fault `behind` its newest blocks are not there."""

    def __init__(self, rpc: NodeRpc, index: ChainIndex, fault: FaultOrder | None) -> None:
        self.rpc, self.index, self.fault = rpc, index, fault
        self.behind = fault.blocks if fault is not None and fault.kind is Fault.BEHIND else 0
        self.height = max(0, index.height - self.behind)

    @property
    def tip(self) -> IndexedBlock:
        """The best block that is seen."""
        found = self.index.block_at(self.height)
        if found is None:
            raise not_found()
        return found

    def spoils(self, kind: Fault) -> bool:
        """Whether this request is answered with that lie."""
        return self.fault is not None and self.fault.kind is kind

    def block_of(self, txid: str) -> IndexedBlock | None:
        """The block that has the transaction, as far as blocks are seen."""
        found = self.index.block_of(txid)
        return found if found is not None and found.height <= self.height else None

    def confirmations(self, block: IndexedBlock) -> int:
        """Blocks on top of and including this one."""
        return self.height - block.height + 1

    async def header(self, reference: str) -> Header:
        """By hash, stale ones too, or by height. Raises HTTPNotFound."""
        if HASH.fullmatch(reference.lower()):
            block_hash = reference.lower()
        elif reference.isdecimal() and (block := self.index.block_at(int(reference))):
            block_hash = block.hash
        else:
            raise not_found()
        try:
            found = await self.rpc.record("getblockheader", block_hash, True)
        except NodeRefused:
            raise not_found() from None
        if int(str(found["height"])) > self.height:
            raise not_found()
        if found["confirmations"] != -1:
            found["confirmations"] = self.height - int(str(found["height"])) + 1
        if found["confirmations"] == 1:
            found["nextblockhash"] = ""
        found.pop("status", None)
        found |= {"txcount": found.get("num_tx", 0), "nTx": 0}
        if self.fault is not None and self.fault.kind in _LIES:
            return headers.spoiled(found, self.fault.kind)
        return found


def answer(data: object) -> web.Response:
    """JSON, amounts as floats: WhatsOnChain writes them so."""
    return web.json_response(data, dumps=functools.partial(json.dumps, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"not for JSON: {type(value).__name__}")


def hash_in(request: web.Request, name: str = "txid") -> str:
    """A hash out of the path. Raises WhatsOnChain's refusal of anything else."""
    return checked_hash(request.match_info[name], name)


def checked_hash(text: object, name: str = "txid") -> str:
    """The same for a hash out of a body."""
    if not isinstance(text, str) or not HASH.fullmatch(text.lower()):
        raise web.HTTPBadRequest(text=f"{name} must be 64 hex characters in length")
    return text.lower()


def number_in(request: web.Request, name: str, *, default: int, most: int) -> int:
    """A whole number of the query, 1 to `most`."""
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise web.HTTPBadRequest(text=f"{name} must be 1 to {most}")
    return int(text)


def not_found() -> web.HTTPNotFound:
    """What WhatsOnChain does not know."""
    return web.HTTPNotFound(text="Not Found")
