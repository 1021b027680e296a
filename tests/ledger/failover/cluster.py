"""Three real ledger processes over one SQLite folder, with mTLS; they can be killed, frozen and woken."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import caller, tls
from mesh.authority import Authority
from mesh.caller import Caller
from mesh.channel import MeshChannel, connect
from mesh.clock import SystemClock
from mesh.tokens import UserTokenSigner
from sandbox import tether
from sandbox.process import free_port

LEDGER = "satreel.ledger.v1.LedgerService"
READS = f"{LEDGER}/reads"
CALLERS = ("ledger", "market", "chain", "gateway", "insight")
HEALTH_TIMEOUT_S = 0.5
LOCK_TRIES = 200
# Of each node's log, when a test fails.
LINES_SHOWN = 10


class Node:
    """A process that may be dead or frozen."""

    def __init__(self, name: str, port: int, command: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        self.port = port
        self.log = Path(environment["SATREEL_DATA_DIR"]) / f"{name}.log"
        self.process: asyncio.subprocess.Process | None = None
        self._command = command
        self._environment = environment

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        # It ends when the tests do, even if they are killed while it is frozen.
        wrapper = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(signal.SIGKILL))]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *wrapper, *self._command, env=self._environment, stdout=log, stderr=log
            )

    def send(self, signal_: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal_)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """Asks it to end."""
        self.send(signal.SIGTERM)
        await self.ended()

    async def ended(self) -> None:
        if self.process is not None:
            await self.process.wait()

    def last_lines(self) -> list[str]:
        """The end of its log."""
        return self.log.read_text().splitlines()[-LINES_SHOWN:] if self.log.exists() else []

    def logged(self, what: str) -> int:
        """How many lines of its log have these words."""
        return self.log.read_text().count(what) if self.log.exists() else 0


class Cluster:
    """The nodes, and channels to them."""

    def __init__(self, folder: Path, redis_url: str, *, lease_ttl_s: float, names: Sequence[str]) -> None:
        self.folder = folder
        self.lease_ttl_s = lease_ttl_s
        self.tls_dir = folder / "tls"
        authority = Authority.open(self.tls_dir)
        for name in CALLERS:
            authority.issue(name)
        private_key, public_key = tls.make_user_token_keys(self.tls_dir)
        self._signer = UserTokenSigner(private_key.read_bytes(), SystemClock())
        self._environment = {
            **os.environ,
            "SATREEL_DATA_DIR": str(folder),
            "SATREEL_REDIS_URL": redis_url,
            "SATREEL_TLS_DIR": str(self.tls_dir),
            "SATREEL_USER_TOKEN_KEY": str(public_key),
            "SATREEL_LEDGER_LEASE_TTL_S": str(lease_ttl_s),
            "SATREEL_DRAIN_S": "0.2",
        }
        self.nodes = [self._node(name) for name in names]

    def _node(self, name: str) -> Node:
        port = free_port()
        environment = {**self._environment, "SATREEL_LEDGER_LISTEN": f"127.0.0.1:{port}"}
        module = "tests.ledger.failover.stubborn" if name == "stubborn" else "services.ledger"
        return Node(name, port, [sys.executable, "-m", module], environment)

    def channel(self, me: str, *nodes: Node, health: str = "", health_checked: bool = True) -> MeshChannel:
        """A channel to these nodes, by default to all."""
        addresses = ",".join(node.address for node in nodes or self.nodes)
        return connect(
            me=me, peer="ledger", addresses=addresses, tls_dir=self.tls_dir, health=health,
            health_checked=health_checked,
        )  # fmt: skip

    def act_as_admin(self) -> None:
        """Calls made from now on in this task are an administrator's."""
        who = Caller("", "admin", frozenset({"admin"}), "test")
        token, _ = self._signer.sign(user_id="admin", roles=who.roles, session_id="test")
        caller.enter(who, token)

    async def serves(self, node: Node, service: str = LEDGER) -> bool:
        """What the node says of its health; a dead or frozen one says nothing."""
        credentials = tls.channel_credentials(self.tls_dir, "market")
        options = [("grpc.ssl_target_name_override", tls.host_name("ledger"))]
        async with grpc.aio.secure_channel(node.address, credentials, options) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined] # its stubs lack it
            request = health_pb2.HealthCheckRequest(service=service)
            try:
                reply = await check(request, timeout=HEALTH_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def leader(self) -> Node:
        """The node that serves commands, as soon as there is one."""
        while True:
            for node in self.nodes:
                if await self.serves(node):
                    return node
            await asyncio.sleep(0.05)

    async def freeze(self, node: Node) -> None:
        """Stops it at a moment when it does not hold the lock of the SQLite file.

        A process frozen in the middle of a commit keeps that lock, and nobody can write until it wakes.
        """
        for _ in range(LOCK_TRIES):
            node.send(signal.SIGSTOP)
            if self._writable():
                return
            node.send(signal.SIGCONT)
            await asyncio.sleep(0.007)
        raise TimeoutError("it holds the lock at every moment")

    def _writable(self) -> bool:
        db = sqlite3.connect(self.folder / "records" / "ledger.sqlite", timeout=0.2, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            db.close()
        return True

    async def verified(self) -> tuple[int, str]:
        """Exit code and output of `python -m services.ledger verify`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ledger", "verify",
            env=self._environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()


@asynccontextmanager
async def cluster(
    folder: Path, redis_url: str, *, lease_ttl_s: float, names: Sequence[str] = ("a", "b", "c")
) -> AsyncIterator[Cluster]:
    """A cluster whose nodes run; whatever became of them, they end with it."""
    opened = Cluster(folder, redis_url, lease_ttl_s=lease_ttl_s, names=names)
    try:
        for node in opened.nodes:
            await node.start()
        yield opened
    except BaseException:
        sys.stdout.writelines(f"{node.name}: {line}\n" for node in opened.nodes for line in node.last_lines())
        raise
    finally:
        for node in opened.nodes:
            await node.kill()
