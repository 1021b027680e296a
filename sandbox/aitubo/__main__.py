"""`python -m sandbox.aitubo`: the stand-in as a process; `--help` lists its settings."""

from __future__ import annotations

import asyncio

from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.server import running_aitubo
from sandbox.options import read_settings
from sandbox.process import SandboxFailure, stop_signal


async def serve(settings: AituboSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = stop_signal()
    async with running_aitubo(settings) as url:
        print(f"AITubo stand-in at {url}", flush=True)
        await stopped.wait()


def main() -> None:
    """Read the settings from arguments and environment, and serve."""
    try:
        asyncio.run(serve(read_settings(AituboSettings)))
    except SandboxFailure as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
