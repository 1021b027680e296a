"""`python -m graphql_gateway --only market` as a team starts it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from strawberry import relay

from graphql_gateway.services import Services
from sandbox.process import free_port
from tests.federation.serving import supergraph
from tests.gateway.client import Client
from tests.gateway.world import World, opened

START_S_MAX = 120.0


@asynccontextmanager
async def only(domain: str, world: World) -> AsyncIterator[str]:
    """The address of a gateway in a process of its own, before the services of a world."""
    address = f"127.0.0.1:{free_port()}"
    peers = dict.fromkeys(Services.__slots__, f"127.0.0.1:{world.services_port}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "graphql_gateway", "--only", domain),
        env={
            **os.environ,
            "SATREEL_PEERS": json.dumps(peers),
            "SATREEL_REDIS_URL": "redis://127.0.0.1:1",
            "SATREEL_GATEWAY_HTTP_LISTEN": address,
            "SATREEL_DRAIN_S": "0",
        },
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        yield await _answering(f"http://{address}")
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def _answering(url: str) -> str:
    async with asyncio.timeout(START_S_MAX), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/healthz"):
                    return url
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def test_two_processes_make_a_graph(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as world,
        only("market", world) as market,
        only("memes", world) as memes,
        supergraph(market=market, memes=memes) as router,
        Client(router["url"]) as client,
    ):
        assert "errors" not in router, router["errors"]
        ada = world.user("ada")
        meme = world.meme("ape", ada)
        asked = await client.ask("{ memes { nodes { name quote { sales } creator { id } } } }")
        assert asked["memes"]["nodes"] == [
            {"name": "ape", "quote": {"sales": 0}, "creator": {"id": relay.to_base64("User", ada.id)}}
        ]
        assert world.log.of("BatchGetQuotes")[0].request.meme_ids == [meme.id]
        assert not world.log.of("BatchGetUsers")
