"""Subgraphs before the fakes of the gateway's tests, and the Node.js programs that compose and route."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from graphql_gateway import app, federation, schema
from graphql_gateway.composition import Composition
from tests.gateway.world import World
from tools.npm import NODE

FOLDER = Path(__file__).with_name("npm")
START_S_MAX = 120.0


@asynccontextmanager
async def running(program: str, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """A program of npm/ and the line it prints when it is ready; it ends with its standard input."""
    process = await asyncio.create_subprocess_exec(
        NODE, program, *arguments, cwd=FOLDER, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S_MAX):
            ready = await process.stdout.readline()
        yield json.loads(ready)
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def served(world: World, composition: Composition) -> AsyncIterator[str]:
    """The address of a gateway of that composition alone, before the services of a world."""
    parts = dataclasses.replace(world.parts, elsewhere=federation.elsewhere(composition))
    runner = app.runner(app.build(world.settings(), parts, composition))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def supergraph(**subgraphs: str) -> AsyncIterator[dict[str, Any]]:
    """What router.mjs tells of the subgraphs, named with their addresses; clients add the path to `url`."""
    named = [{"name": name, "url": f"{url}/graphql"} for name, url in subgraphs.items()]
    async with running("router.mjs", json.dumps(named)) as told:
        yield {**told, "url": told.get("url", "").removesuffix("/graphql")}


@asynccontextmanager
async def domains_apart(world: World) -> AsyncIterator[dict[str, Any]]:
    """The router before every domain alone."""
    async with AsyncExitStack() as stack:
        urls = {
            domain.name: await stack.enter_async_context(served(world, schema.composed([domain.name])))
            for domain in schema.DOMAINS
        }
        yield await stack.enter_async_context(supergraph(**urls))
