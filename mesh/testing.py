"""What tests of services need: a real server of theirs on loopback, all interceptors included, and channels.

    async with serving("ledger", add_LedgerServiceServicer_to_server, servicer) as server:
        stub = LedgerServiceStub(server.channel("market"))
        with server.user("0190…", roles={"admin"}):
            await stub.GetAccount(…)

The caller's service is taken at its word here, as on every server without TLS; access is enforced as ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mesh import caller, tls
from mesh.caller import Caller
from mesh.channel import MeshChannel, connect
from mesh.clock import Clock, SystemClock
from mesh.config import MeshSettings
from mesh.server import MeshServer
from mesh.tokens import UserTokenSigner

Servicer = TypeVar("Servicer")


class LoopbackServer:
    """A server under test."""

    def __init__(
        self, service: str, server: MeshServer, signer: UserTokenSigner, stack: AsyncExitStack
    ) -> None:
        self.service = service
        self.server = server
        self.signer = signer
        self._stack = stack

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server.port}"

    def channel(self, me: str, *, service: str | None = None, health: str = "") -> MeshChannel:
        """A channel on which the service `me` calls it."""
        opened = connect(
            me=me, peer=self.service, addresses=self.address, tls_dir=None, service=service, health=health
        )
        self._stack.push_async_callback(opened.close)
        return opened

    @contextmanager
    def user(self, user_id: str, *, roles: Iterable[str] = (), session_id: str = "test") -> Iterator[Caller]:
        """Calls made in the block carry a token of this user."""
        who = Caller("", user_id, frozenset(roles), session_id)
        token, _ = self.signer.sign(user_id=user_id, roles=who.roles, session_id=session_id)
        with caller.acting_as(who, token):
            yield who


@asynccontextmanager
async def serving(
    service: str,
    adder: Callable[[Servicer, Any], None],
    servicer: Servicer,
    *,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[LoopbackServer]:
    """Runs a servicer behind a real server of the mesh, with keys of its own for user tokens."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        private_key, public_key = tls.make_user_token_keys(keys)
        given = {"drain_s": 0.0, "stop_grace_s": 1.0, "user_token_key": public_key, **settings}
        server = MeshServer(_settings(service, given), clock)
        await server.add(adder, servicer)
        await server.start()
        stack.push_async_callback(server.stop)
        yield LoopbackServer(service, server, UserTokenSigner(private_key.read_bytes(), clock), stack)


def _settings(service_name: str, given: dict[str, Any]) -> MeshSettings:
    class LoopbackSettings(MeshSettings):
        service = service_name

    return LoopbackSettings(**given)
