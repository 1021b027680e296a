"""What only a private chain allows: blocks on demand, reorganisations, and a faucet of real coins."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sandbox.process import SandboxFailure
from sandbox.rpc import NodeRefused, NodeRpc, coins_text, sats_of

COINBASE_MATURITY_BLOCKS = 100
BLOCKS_PER_CALL_MAX = 200
FAUCET_ROUNDS_MAX = 10
MINING_TIMEOUT_S = 120.0
RPC_NOT_ACCEPTED = -32603


class FaucetEmpty(SandboxFailure):
    """The chain gives no more coins: in regtest the subsidy halves every 150 blocks."""


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output: where it is, what it is worth, what locks it."""

    txid: str
    vout: int
    sats: int
    script_hex: str


class Regtest:
    """Controls of a node in regtest; needs the node's own wallet, which is the faucet."""

    def __init__(self, rpc: NodeRpc) -> None:
        self.rpc = rpc
        self._own_address: str | None = None
        self._faucet = asyncio.Lock()

    async def height(self) -> int:
        """Number of the best block; the genesis block is 0."""
        return await self.rpc.integer("getblockcount")

    async def tip(self) -> str:
        """Hash of the best block."""
        return await self.rpc.text("getbestblockhash")

    async def mine(self, blocks: int = 1, address: str | None = None) -> list[str]:
        """Mine at once, the reward to `address` (else the faucet). Returns the block hashes, oldest first."""
        if not 1 <= blocks <= BLOCKS_PER_CALL_MAX:
            raise ValueError(f"1 to {BLOCKS_PER_CALL_MAX} blocks in one call, not {blocks}")
        target = address or await self._address()
        try:
            return await self._generate(blocks, target)
        except NodeRefused as refusal:
            if address is not None or refusal.code != RPC_NOT_ACCEPTED:
                raise
        # Within a second of `invalidate`, the same address makes the very block that was invalidated.
        self._own_address = None
        return await self._generate(blocks, await self._address())

    async def mine_spaced(self, blocks: int, pause_s: float) -> list[str]:
        """Mine one by one, with a pause after each but the last."""
        hashes: list[str] = []
        for left in reversed(range(blocks)):
            hashes += await self.mine(1)
            if left:
                await asyncio.sleep(pause_s)
        return hashes

    async def invalidate(self, block_hash: str) -> None:
        """Drop this block and all after it; the transactions in them go back to the mempool."""
        await self.rpc.call("invalidateblock", block_hash)

    async def reconsider(self, block_hash: str) -> None:
        """Take back `invalidate`: the branch wins again where it is the longer one."""
        await self.rpc.call("reconsiderblock", block_hash)

    async def fund(self, address: str, sats: int) -> Coin:
        """Send real coins from matured coinbases to `address`, mining until there are enough.

        The payment waits in the mempool: mine a block to confirm it. Raises FaucetEmpty.
        """
        async with self._faucet:
            await self._fill(sats)
            txid = await self.rpc.text("sendtoaddress", address, coins_text(sats))
        return await self._coin(txid, address)

    async def _fill(self, sats: int) -> None:
        """Mature blocks until the faucet holds `sats` and a coin for fees."""
        for _ in range(FAUCET_ROUNDS_MAX):
            if sats_of(await self.rpc.call("getbalance")) > sats:
                return
            await self.mine(
                1 + (COINBASE_MATURITY_BLOCKS if await self.height() < COINBASE_MATURITY_BLOCKS else 0)
            )
        raise FaucetEmpty(f"the faucet cannot give {sats} sat: mine more blocks, or start a fresh chain")

    async def _generate(self, blocks: int, target: str) -> list[str]:
        return await self.rpc.texts("generatetoaddress", blocks, target, timeout_s=MINING_TIMEOUT_S)

    async def _address(self) -> str:
        if self._own_address is None:
            self._own_address = await self.rpc.text("getnewaddress")
        return self._own_address

    async def _coin(self, txid: str, address: str) -> Coin:
        transaction = await self.rpc.record("getrawtransaction", txid, True)
        for output in _items(transaction.get("vout")):
            match output:
                case {
                    "value": value,
                    "n": int(vout),
                    "scriptPubKey": {"hex": str(script), "addresses": [paid]},
                }:
                    if paid == address:
                        return Coin(txid, vout, sats_of(value), script)
        raise SandboxFailure(f"{txid} pays nothing to {address}")


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
