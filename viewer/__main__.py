"""`python -m viewer`: takes OTLP and shows it, on loopback, until told to stop; see `--help`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import ValidationError
from pydantic_settings import CliApp
from pydantic_settings.exceptions import SettingsError

from viewer.config import ViewerSettings
from viewer.pages import Pages
from viewer.receiver import receive
from viewer.store import Store

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where it shows, and where it takes."""

    pages: str
    otlp: str


@asynccontextmanager
async def running(settings: ViewerSettings) -> AsyncIterator[Addresses]:
    """The viewer for the length of a block. Raises OSError, RuntimeError: a port is taken."""
    # One thread: the store is used by one at a time.
    with ThreadPoolExecutor(1, "store") as threads:

        async def in_thread(work: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(threads, work)

        store = Store(
            settings.file,
            spans_max=settings.spans_max,
            points_max=settings.points_max,
            bytes_max=settings.bytes_max,
        )
        runner = web.AppRunner(Pages(store, in_thread).application(), access_log=None, handle_signals=False)
        receiver, otlp_port = await receive(store, settings.otlp_port, in_thread)
        try:
            await runner.setup()
            await web.TCPSite(runner, LOOPBACK, settings.http_port).start()
            port = runner.addresses[0][1]
            yield Addresses(f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{otlp_port}")
        finally:
            await runner.cleanup()
            await receiver.stop(0.5)
            await in_thread(store.close)


async def serve(settings: ViewerSettings) -> None:
    """Until SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for told in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(told, stop.set)
    async with running(settings) as addresses:
        sys.stdout.write(f"traces and metrics at {addresses.pages}, OTLP/gRPC to {addresses.otlp}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Reads the settings and serves."""
    try:
        settings = CliApp.run(ViewerSettings)
    except (ValidationError, SettingsError) as problem:
        raise SystemExit(str(problem)) from None
    try:
        asyncio.run(serve(settings))
    except (OSError, RuntimeError) as problem:
        raise SystemExit(f"the viewer cannot be started: {problem}") from None


if __name__ == "__main__":
    main()
