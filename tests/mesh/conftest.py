"""A mesh of echo services over loopback with mTLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mesh import tls
from mesh.authority import Authority
from mesh.channel import connect
from mesh.clock import ManualClock
from mesh.config import MeshSettings
from mesh.server import MeshServer
from mesh.tokens import UserTokenSigner
from tests.mesh.echo import SERVICE, Echo, EchoStub, add_echo


class EchoSettings(MeshSettings, env_prefix="SATREEL_ECHO_"):
    """Settings of the test's servers."""

    service: ClassVar[str] = "echo"


class House:
    """Starts servers and connects callers, each with the certificate of its name."""

    def __init__(self, tls_dir: Path, stack: AsyncExitStack) -> None:
        self.tls_dir = tls_dir
        self.authority = Authority.open(tls_dir)
        self.clock = ManualClock()
        self._stack = stack
        for name in ("echo", "friend", "stranger"):
            self.authority.issue(name)
        private_key, self.user_token_key = tls.make_user_token_keys(tls_dir)
        self.signer = UserTokenSigner(private_key.read_bytes(), self.clock)

    async def start(self, servicer: Echo, *, serving: bool = True, **settings: Any) -> MeshServer:
        """A running server of the "echo" service."""
        given = {
            "tls_dir": self.tls_dir,
            "user_token_key": self.user_token_key,
            "drain_s": 0.05,
            "stop_grace_s": 5.0,
            **settings,
        }
        server = MeshServer(EchoSettings(**given), self.clock)
        await server.add(add_echo, servicer, serving=serving)
        await server.start()
        self._stack.push_async_callback(server.abort)
        return server

    def stub(
        self, *servers: MeshServer, me: str = "friend", peer: str = "echo", health: str = ""
    ) -> EchoStub:
        """A stub with which `me` calls these servers."""
        channel = connect(
            me=me,
            peer=peer,
            addresses=",".join(f"127.0.0.1:{server.port}" for server in servers),
            tls_dir=self.tls_dir,
            service=SERVICE,
            health=health,
        )
        self._stack.push_async_callback(channel.close)
        return EchoStub(channel)

    def token(self, user_id: str = "u1", *roles: str) -> str:
        """A user token as identity signs them."""
        return self.signer.sign(user_id=user_id, roles=frozenset(roles), session_id="s1")[0]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(tmp_path / "tls", stack)


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def server(house: House, echo: Echo) -> MeshServer:
    return await house.start(echo)


@pytest.fixture
async def channels() -> AsyncIterator[list[Any]]:
    """Channels put in here are closed in the end."""
    opened: list[Any] = []
    yield opened
    for channel in opened:
        await channel.close()
