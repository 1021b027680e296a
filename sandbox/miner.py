"""A miner for the private chain: a block about every so many seconds, and one more whenever somebody asks.

python -m sandbox.miner --help
curl -X POST http://127.0.0.1:7121/mine          one block now; {"blocks": 3} in the body for more
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.options import read_settings
from sandbox.process import LOOPBACK, SandboxFailure, require_free_port, stop_signal
from sandbox.regtest import BLOCKS_PER_CALL_MAX, Regtest
from sandbox.rpc import NodeRpc, RpcFailure

BODY_BYTES_MAX = 1024
SHUTDOWN_S = 1.0


class MinerSettings(BaseSettings):
    """Blocks for a private BSV node. Each setting is also SATREEL_SANDBOX_MINER_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="SATREEL_SANDBOX_MINER_", cli_prog_name="python -m sandbox.miner", cli_kebab_case=True
    )

    node_url: SecretStr = Field(description="the node's JSON-RPC address: http://user:password@host:port")
    interval_s: float = Field(
        default=8.0, gt=0, le=86_400, description="mean time between blocks, in seconds"
    )
    jitter: float = Field(default=0.3, ge=0, le=1, description="how far a pause strays from the mean, 0 to 1")
    port: int = Field(
        default=7121, ge=0, le=65535, description="loopback port of the control; 0: any free one"
    )
    seed: int | None = Field(default=None, description="for pauses that can be repeated")


class MineRequest(BaseModel):
    """Body of POST /mine."""

    model_config = ConfigDict(extra="forbid")

    blocks: int = Field(default=1, ge=1, le=BLOCKS_PER_CALL_MAX)


class Miner:
    """Mines through one node; `report` gets a line for each block."""

    def __init__(
        self,
        chain: Regtest,
        *,
        interval_s: float = 8.0,
        jitter: float = 0.3,
        chance: random.Random | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        self._chain = chain
        self._interval_s = interval_s
        self._jitter = jitter
        self._chance = chance or random.Random()  # noqa: S311 - pauses, not secrets
        self._report = report
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Mine until cancelled. A node that is away, or still starting, is waited for."""
        while True:
            await asyncio.sleep(self.next_pause_s())
            try:
                await self.mine()
            except RpcFailure as problem:
                self._report(f"no block: {problem}")

    async def mine(self, blocks: int = 1) -> list[str]:
        """Mine now. Returns the block hashes, oldest first."""
        async with self._one_at_a_time:
            hashes = await self._chain.mine(blocks)
        self._report(f"block {await self._chain.height()} {hashes[-1]}")
        return hashes

    def next_pause_s(self) -> float:
        """The mean, give or take the jitter."""
        return self._interval_s * (1 + self._jitter * self._chance.uniform(-1, 1))

    async def handle_mine(self, request: web.Request) -> web.Response:
        """POST /mine."""
        body = await request.read()
        try:
            asked = MineRequest.model_validate_json(body) if body else MineRequest()
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        try:
            return web.json_response({"hashes": await self.mine(asked.blocks)})
        except RpcFailure as error:
            raise web.HTTPBadGateway(text=str(error)) from error


@asynccontextmanager
async def running_control(miner: Miner, port: int) -> AsyncIterator[str]:
    """The miner's control on loopback; gives its address. Raises PortTaken."""
    if port:
        require_free_port(port, part="The miner's control", setting="SATREEL_SANDBOX_MINER_PORT")
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/mine", miner.handle_mine)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def serve(settings: MinerSettings) -> None:
    """Mine until SIGTERM or SIGINT."""
    async with NodeRpc(settings.node_url.get_secret_value()) as rpc:
        chance = random.Random(settings.seed)  # noqa: S311 - pauses, not secrets
        miner = Miner(
            Regtest(rpc),
            interval_s=settings.interval_s,
            jitter=settings.jitter,
            chance=chance,
            report=lambda line: print(line, flush=True),
        )
        async with running_control(miner, settings.port) as url:
            node = urlsplit(settings.node_url.get_secret_value())
            print(f"mining on {node.hostname}:{node.port}, control at {url}/mine", flush=True)
            work = asyncio.create_task(miner.run(), name="miner")
            stop = asyncio.create_task(stop_signal().wait(), name="stop")
            done, pending = await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for task in done:
                task.result()


def main() -> None:
    """Read the settings from arguments and environment, and mine."""
    try:
        asyncio.run(serve(read_settings(MinerSettings)))
    except SandboxFailure as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
