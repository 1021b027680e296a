"""The authority is renewed: the edge follows each step, towards teams and services, and connections end."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import aiohttp

from mesh.authority import TRUSTED, Authority, Stage
from sandbox.process import LOOPBACK, free_port
from tests.edge import followed
from tests.edge.lone import alone
from topology import edge


async def test_the_edge_follows_the_authority(tmp_path: Path) -> None:
    content, before = f"{LOOPBACK}:{free_port()}", tmp_path / "before"
    async with alone(tmp_path, services={"content": (content,)}) as places:
        authority = Authority(places.tls)
        authority.issue("team")
        shutil.copytree(places.tls, before)
        for stage in (Stage.NEXT_TRUSTED, Stage.NEXT_ISSUES, Stage.ALONE):
            assert not await _is_refused(places, before)
            await followed.step(authority, places.tls, stage, places.admin)
        assert await _is_refused(places, before)
        assert not await _is_refused(places, places.tls)
        await followed.calls_content(places.admin, content, before, places.tls)


async def test_connections_end_so_that_others_follow(tmp_path: Path) -> None:
    async with alone(tmp_path, limits=edge.Limits(connection_s=0.5)) as places:
        context = ssl.create_default_context(cafile=str(places.tls / TRUSTED))
        async with aiohttp.ClientSession() as client, asyncio.timeout(20):
            told = ""
            while told != "close":
                async with client.get(f"https://{places.https}/", ssl=context) as response:
                    told = response.headers.get("connection", "")
                    await response.read()
                await asyncio.sleep(0.05)
        await followed.until_sent_away(places.https, context, "localhost")


async def _is_refused(places: edge.Places, shows: Path) -> bool:
    """Whether a team with that folder's certificate does not get in."""
    context = ssl.create_default_context(cafile=str(places.tls / TRUSTED))
    context.load_cert_chain(shows / "team.pem", shows / "team.key")
    return await followed.is_refused(places.https, context, "localhost")
