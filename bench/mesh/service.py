"""The simple services of the gateway's benchmark as a service of the mesh, by the settings of one.

    python -m bench.mesh.service PRIVATE_KEY

`SATREEL_…` settings say where it listens, whether by mTLS, behind a sidecar or in clear, and where traces go.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from bench.gateway.services import Services
from mesh.clock import SystemClock
from mesh.config import MeshSettings
from mesh.runtime import Runtime, run
from mesh.tokens import UserTokenSigner


class ServiceSettings(MeshSettings):
    """Those of the service that calls are made to."""

    service: ClassVar[str] = "rounds"


async def main(settings: ServiceSettings) -> None:
    """Serves until it is told to stop."""
    async with Runtime(settings) as runtime:
        await Services(UserTokenSigner(KEY, SystemClock())).add_to(runtime.add)
        await runtime.serve()


if __name__ == "__main__":
    KEY = Path(sys.argv[1]).read_bytes()
    sys.argv = sys.argv[:1]
    run(ServiceSettings, main)
