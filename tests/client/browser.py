"""A page in headless Chromium that uses the package as built, and tells what it saw."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = Path(__file__).with_name("page.html")
TOLD_S = 60.0


class Site:
    """Serves the page and the package, and passes on to the stage what the page has it do."""

    def __init__(self, package: Path) -> None:
        self.told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.stage = ""
        self.application = web.Application()
        router = self.application.router
        router.add_get("/", self._page)
        router.add_static("/client", package / "dist")
        router.add_static("/graphql-ws", package / "node_modules" / "graphql-ws" / "dist")
        router.add_post("/act/{act}", self._act)
        router.add_post("/told", self._tell)

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE.read_text(), content_type="text/html")

    async def _act(self, request: web.Request) -> web.Response:
        url = f"{self.stage}/{request.match_info['act']}"
        async with aiohttp.ClientSession() as http, http.post(url, data=await request.read()) as response:
            return web.Response(body=await response.read(), content_type="application/json")

    async def _tell(self, request: web.Request) -> web.Response:
        self.told.set_result(await request.json())
        return web.Response()


@asynccontextmanager
async def served(site: Site) -> AsyncIterator[str]:
    """Gives the origin of its page."""
    runner = web.AppRunner(site.application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def told_by(site: Site, url: str, folder: Path) -> Any:
    """What the page at `url` tells. Raises TimeoutError with what the browser said."""
    assert CHROMIUM is not None
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--enable-logging=stderr",
        f"--user-data-dir={folder}",
        url,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    said = asyncio.create_task(_read(browser))
    try:
        async with asyncio.timeout(TOLD_S):
            return await site.told
    except TimeoutError as late:
        browser.kill()
        raise TimeoutError((await said)[-2_000:]) from late
    finally:
        if browser.returncode is None:
            browser.terminate()
        await said
        await browser.wait()


async def _read(browser: asyncio.subprocess.Process) -> str:
    assert browser.stderr is not None
    return (await browser.stderr.read()).decode(errors="replace")
