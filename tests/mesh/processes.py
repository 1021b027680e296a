"""The echo service as processes."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.channel import connect
from tests.conftest import without_settings
from tests.mesh.echo import SERVICE, EchoStub

ROOT = Path(__file__).resolve().parents[2]


class EchoProcess:
    """A running echo service and what it has logged."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.logs: list[dict[str, Any]] = []

    async def until(self, event: str) -> dict[str, Any]:
        """Reads the log up to this event."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.logs.append(json.loads(line))
            if self.logs[-1]["event"] == event:
                return self.logs[-1]
        raise AssertionError(f"no {event!r} in {self.logs}")

    async def ended(self) -> int:
        """Reads the rest of the log; answers the exit code."""
        out, err = await self.process.communicate()
        self.logs += [json.loads(line) for line in out.splitlines()]
        assert b"Traceback" not in err, err
        return self.process.returncode or 0

    async def stub(self, stack: list[Any]) -> EchoStub:
        """A stub to call it with."""
        port = (await self.until("listening"))["port"]
        channel = connect(
            me="friend", peer="echo", addresses=f"127.0.0.1:{port}", tls_dir=None, service=SERVICE
        )
        stack.append(channel)
        return EchoStub(channel)


@asynccontextmanager
async def echo_process(*arguments: str, **variables: str) -> AsyncIterator[EchoProcess]:
    """Starts the echo service with these settings."""
    environment = without_settings()
    environment |= {"SATREEL_DRAIN_S": "0.1", **variables}
    command = [sys.executable, "-W", "error", "-m", "tests.mesh.echo_main", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield EchoProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
