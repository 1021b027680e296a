"""The probe that containers run, against a real server with mTLS."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.mesh.conftest import House
from tests.mesh.echo import Echo

SERVICE = "satreel.echo.v1.EchoService"


async def probe(port: int, tls_dir: Path | None, *arguments: str) -> tuple[int, str]:
    environment = {"SATREEL_ECHO_LISTEN": f"0.0.0.0:{port}"}
    if tls_dir is not None:
        environment["SATREEL_TLS_DIR"] = str(tls_dir)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "mesh.probe", *arguments, env=environment, stderr=PIPE
    )
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode().strip()


async def test_a_standby_lives_but_does_not_serve(house: House, echo: Echo) -> None:
    server = await house.start(echo)
    await server.health.set(SERVICE, False)

    assert await probe(server.port, house.tls_dir, "echo") == (0, "")
    assert await probe(server.port, house.tls_dir, "echo", "--serving") == (1, "NOT_SERVING")

    await server.health.set(SERVICE, True)
    assert await probe(server.port, house.tls_dir, "echo", "--serving") == (0, "")


async def test_without_tls_it_asks_in_plain(house: House, echo: Echo) -> None:
    server = await house.start(echo, tls_dir=None)

    assert await probe(server.port, None, "echo") == (0, "")


async def test_a_server_that_is_gone_or_speaks_otherwise_does_not_live(house: House, echo: Echo) -> None:
    server = await house.start(echo)

    code, said = await probe(server.port, None, "echo")
    assert (code, said.split(":")[0]) == (1, "UNAVAILABLE")

    await server.abort()
    code, said = await probe(server.port, house.tls_dir, "echo")
    assert (code, said.split(":")[0]) == (1, "UNAVAILABLE")


async def test_it_says_what_is_wrong_with_its_own_call(tmp_path: Path) -> None:
    assert await probe(1, None, "tea") == (1, "'SATREEL_TEA_LISTEN' is not set")
    for arguments in ((), ("--help",)):
        code, said = await probe(1, None, *arguments)
        assert (code, said.split(":")[0]) == (1, "usage")
