"""The gateway, that tells on SIGUSR1 how many tasks it has: `python -m bench.gateway.observed FILE`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from graphql_gateway import process
from graphql_gateway.config import GatewaySettings
from mesh.runtime import run


async def main(settings: GatewaySettings) -> None:
    """As the gateway's own."""

    def tell() -> None:
        told.write_text(str(len(asyncio.all_tasks())))

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    await process.main(settings, only=[])


if __name__ == "__main__":
    told = Path(sys.argv[1])
    run(GatewaySettings, main, [])
