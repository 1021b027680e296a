"""A Valkey server as a child process: in memory, on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sandbox.binaries import valkey_binary
from sandbox.environment import inherited
from sandbox.process import LOOPBACK, Child, StartFailed, require_free_port, start_child

START_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 2.0
POLL_S = 0.02
MEMORY_MB = 256


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running server; `url` is for SATREEL_REDIS_URL."""

    child: Child
    url: str
    started_in_s: float

    async def stop(self) -> None:
        """End it; harmless when it has ended."""
        await self.child.stop()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


async def start_valkey(
    data_dir: Path, port: int, *, program: Path | None = None, memory_mb: int = MEMORY_MB
) -> Valkey:
    """Start Valkey and wait until it answers. Nothing is kept: what matters never lives here.

    When memory is full, writes fail instead of silently losing queued jobs.
    Raises PortTaken, UnsupportedPlatform or StartFailed.
    """
    begun = time.monotonic()
    require_free_port(port, part="Valkey", setting="SATREEL_SANDBOX_FIRST_PORT")
    child = await start_child(
        "valkey",
        [
            program or valkey_binary(),
            *("--bind", LOOPBACK, "--port", str(port), "--dir", str(_made(data_dir))),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--databases", "16"),
            *("--maxmemory", f"{memory_mb}mb", "--maxmemory-policy", "noeviction"),
        ],
        log_path=data_dir / "valkey.log",
        env=inherited(),
    )
    url = f"redis://{LOOPBACK}:{port}/0"
    try:
        await _until_ready(child, url)
    except BaseException:
        await child.stop()
        raise
    return Valkey(child, url, time.monotonic() - begun)


@asynccontextmanager
async def running_valkey(data_dir: Path, port: int) -> AsyncIterator[Valkey]:
    """A server for the length of a `with` block."""
    valkey = await start_valkey(data_dir, port)
    try:
        yield valkey
    finally:
        await valkey.stop()


async def _until_ready(child: Child, url: str) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if child.exit_code is not None:
            raise StartFailed(f"Valkey ended with code {child.exit_code}:\n{child.log_tail()}")
        try:
            async with Redis.from_url(url, socket_timeout=PROBE_TIMEOUT_S) as client:
                await client.ping()
                return
        except (RedisError, OSError):
            await asyncio.sleep(POLL_S)  # not listening yet
    raise StartFailed(f"Valkey does not answer after {START_TIMEOUT_S:.0f} s:\n{child.log_tail()}")
