"""Coins in custody as the node alone tells them: followed from public addresses along its transactions.

No service is asked, so what comes out checks what the chain service says of itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from sandbox.rpc import NodeRpc, sats_of

FULL_TRANSACTIONS = 2
# A title is an output of exactly one satoshi; the wallet makes no change that small.
TITLE_SATS = 1

Outpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Output:
    sats: int
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Transaction:
    spends: frozenset[Outpoint]
    outputs: dict[Outpoint, _Output]


async def coins_in_custody(
    rpc: NodeRpc, *, paid_in: Collection[str], outside: Collection[str], after_height: int = 0
) -> dict[Outpoint, int]:
    """Satoshis by unspent output, mempool included.

    Ours is what pays a `paid_in` address, and what a transaction makes of coins of ours; but for what it pays
    to an `outside` address, and titles. `after_height`: nothing was ours before.
    """
    transactions = [transaction async for transaction in _transactions(rpc, after_height)]
    ours: dict[Outpoint, int] = {}
    while True:
        found = {
            outpoint: output.sats
            for transaction in transactions
            for outpoint, output in transaction.outputs.items()
            if _is_ours(
                output, set(paid_in), set(outside), made_of_ours=bool(transaction.spends & ours.keys())
            )
        }
        if found == ours:
            break
        ours = found
    unspent = await asyncio.gather(*(_unspent_sats(rpc, outpoint) for outpoint in ours))
    return {outpoint: sats for outpoint, sats in zip(ours, unspent, strict=True) if sats is not None}


def _is_ours(output: _Output, paid_in: set[str], outside: set[str], *, made_of_ours: bool) -> bool:
    if output.addresses & paid_in:
        return True
    return made_of_ours and output.sats > TITLE_SATS and not output.addresses & outside


async def _unspent_sats(rpc: NodeRpc, outpoint: Outpoint) -> int | None:
    """What the node says the output is worth; None when it is spent."""
    found = await rpc.call("gettxout", *outpoint, True)
    return sats_of(found["value"]) if isinstance(found, dict) else None


async def _transactions(rpc: NodeRpc, after_height: int) -> AsyncIterator[_Transaction]:
    for height in range(after_height + 1, await rpc.integer("getblockcount") + 1):
        block = await rpc.record("getblock", await rpc.text("getblockhash", height), FULL_TRANSACTIONS)
        for transaction in _items(block.get("tx")):
            yield _read(transaction)
    for txid in await rpc.texts("getrawmempool"):
        yield _read(await rpc.record("getrawtransaction", txid, True))


def _read(transaction: dict[str, object]) -> _Transaction:
    txid = str(transaction["txid"])
    spends = {
        (str(source["txid"]), int(str(source["vout"])))
        for source in _items(transaction["vin"])
        if "txid" in source  # a coinbase has none
    }
    outputs: dict[Outpoint, _Output] = {}
    for output in _items(transaction["vout"]):
        script = output["scriptPubKey"]
        named = script.get("addresses", []) if isinstance(script, dict) else []
        outputs[txid, int(str(output["n"]))] = _Output(sats_of(output["value"]), frozenset(named))
    return _Transaction(frozenset(spends), outputs)


def _items(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []
