"""`python -m sandbox.explorers`: the stand-ins as a process; `--help` lists its settings."""

from __future__ import annotations

import asyncio

from sandbox.explorers.config import ExplorersSettings
from sandbox.explorers.server import running_explorers
from sandbox.options import read_settings
from sandbox.process import SandboxFailure, stop_signal


async def serve(settings: ExplorersSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = stop_signal()
    async with running_explorers(settings) as explorers:
        print(f"WhatsOnChain stand-in at {explorers.woc_url}, {explorers.woc_socket_url}")
        print(f"ARC stand-in at {explorers.arc_url}, faults at {explorers.control_url}", flush=True)
        await stopped.wait()


def main() -> None:
    """Read the settings from arguments and environment, and serve."""
    try:
        asyncio.run(serve(read_settings(ExplorersSettings)))
    except SandboxFailure as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
