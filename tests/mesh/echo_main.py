"""The echo service as a process of its own, with a composition root like any other."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import Field

from mesh.config import MeshSettings
from mesh.runtime import Runtime, run
from tests.mesh.echo import SERVICE, Echo, EchoStub, add_echo


class EchoSettings(MeshSettings, env_prefix="SATREEL_ECHO_"):
    """Settings of the echo service."""

    service: ClassVar[str] = "echo"
    crash_after_s: float | None = Field(None, description="Seconds after which background work crashes.")


async def main(settings: EchoSettings) -> None:
    """Serves until told to stop."""
    async with Runtime(settings) as runtime:
        behind = EchoStub(runtime.channel("echo", service=SERVICE)) if settings.peers else None
        echo = Echo(behind, name=settings.listen)
        echo.release.set()

        async def crash() -> None:
            if settings.crash_after_s is not None:
                await asyncio.sleep(settings.crash_after_s)
                raise ValueError("the kettle is empty")

        await runtime.add(add_echo, echo)
        runtime.background(crash, "crash")
        await runtime.serve()


if __name__ == "__main__":
    run(EchoSettings, main)
