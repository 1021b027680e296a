"""A BSV node in regtest, as a child process: its configuration, its start until it answers, its end."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.binaries import DEFAULT_BIN_DIR, NodeBinaries, node_binaries
from sandbox.environment import inherited
from sandbox.process import LOOPBACK, Child, StartFailed, require_free_port, start_child
from sandbox.rpc import NodeRefused, NodeRpc, NodeUnreachable, RpcFailure

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05
PROBE_TIMEOUT_S = 5.0
RPC_WARMING_UP = -28
RPC_USER = "satreel"

# Limits as a BSV miner sets them today. `minminingtxfee` is 100 sat/kB; with less set the node would take
# transactions without a fee. The wallet (the faucet) pays twice that, because it rounds its own fees down.
# Safe mode would shut the faucet after a reorganisation of three blocks.
CONFIG = """\
regtest=1
server=1
{p2p}
dnsseed=0
disablesafemode=1
rpcuser={user}
rpcpassword={password}
rpcbind={host}
rpcallowip={host}
rpcport={rpc_port}
rpcthreads=4
zmqpubhashblock=tcp://{host}:{zmq_port}
zmqpubrawtx=tcp://{host}:{zmq_port}
zmqpubrawtx2=tcp://{host}:{zmq_port}
txindex=1
genesisactivationheight=1
excessiveblocksize=10000000000
maxstackmemoryusageconsensus=100000000
minminingtxfee=0.000001
paytxfee=0.000002
fallbackfee=0.000002
mintxfee=0.000001
keypool=10
dbcache=16
maxmempool=300
threadsperblock=1
"""


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Loopback ports: JSON-RPC, and one ZMQ publisher for the topics hashblock, rawtx and rawtx2.

    `p2p` is where other nodes may connect; without it none can.
    """

    rpc: int
    zmq: int
    p2p: int | None = None


@dataclass(frozen=True, slots=True)
class BsvNode:
    """A running node. `url` carries the credentials (for SATREEL_NODE_URL): keep it out of logs."""

    child: Child
    rpc: NodeRpc
    url: str
    zmq_endpoint: str
    started_in_s: float

    def __repr__(self) -> str:
        return f"BsvNode({self.rpc!r}, pid {self.child.pid})"

    async def stop(self) -> None:
        """Ask by RPC, so that it writes everything to disk; insist by signals when it does not end."""
        if self.child.exit_code is None:
            try:
                await self.rpc.call("stop", timeout_s=PROBE_TIMEOUT_S)
            except RpcFailure:
                pass  # deaf or half gone: the signals below end it
            else:
                await self.child.ended_within(STOP_TIMEOUT_S)
        await self.child.stop()
        await self.rpc.close()


def _password(data_dir: Path) -> str:
    """Made once and kept, so that clients stay connected through a restart of the node."""
    path = data_dir / "rpc.password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def _prepare(data_dir: Path, ports: NodePorts) -> tuple[Path, str]:
    """The configuration file and the password, both for the owner's eyes only."""
    data_dir.mkdir(parents=True, exist_ok=True)
    config, password = data_dir.resolve() / "node.conf", _password(data_dir)
    p2p = "listen=0" if ports.p2p is None else f"listen=1\nbind={LOOPBACK}\nport={ports.p2p}"
    text = CONFIG.format(
        user=RPC_USER, password=password, host=LOOPBACK, rpc_port=ports.rpc, zmq_port=ports.zmq, p2p=p2p
    )
    config.touch(mode=0o600)
    config.write_text(text)
    return config, password


def _silent(_line: str) -> None:
    """Progress that nobody watches."""


async def start_node(
    data_dir: Path,
    ports: NodePorts,
    *,
    binaries: NodeBinaries | None = None,
    bin_dir: Path = DEFAULT_BIN_DIR,
    progress: Callable[[str], None] = _silent,
) -> BsvNode:
    """Start bitcoind on `data_dir` (made when missing, continued when not) and wait until it answers.

    `progress` gets one readable line for each stage. Raises PortTaken, UnsupportedPlatform or StartFailed.
    """
    begun = time.monotonic()
    require_free_port(ports.rpc, part="The BSV node (RPC)", setting="SATREEL_SANDBOX_FIRST_PORT")
    require_free_port(ports.zmq, part="The BSV node (ZMQ)", setting="SATREEL_SANDBOX_FIRST_PORT")
    programs = await asyncio.to_thread(node_binaries, bin_dir) if binaries is None else binaries
    config, password = _prepare(data_dir, ports)
    child = await start_child(
        "bitcoind",
        [programs.bitcoind, f"-conf={config}", f"-datadir={config.parent}"],
        log_path=data_dir / "node.log",
        env=inherited(),
    )
    url = f"http://{RPC_USER}:{password}@{LOOPBACK}:{ports.rpc}"
    rpc = NodeRpc(url)
    try:
        await _until_ready(child, rpc, progress)
    except BaseException:
        await child.stop()
        await rpc.close()
        raise
    took_s = time.monotonic() - begun
    progress(f"BSV node ready after {took_s:.1f} s")
    return BsvNode(child, rpc, url, f"tcp://{LOOPBACK}:{ports.zmq}", took_s)


@asynccontextmanager
async def running_node(data_dir: Path, ports: NodePorts) -> AsyncIterator[BsvNode]:
    """A node for the length of a `with` block."""
    node = await start_node(data_dir, ports)
    try:
        yield node
    finally:
        await node.stop()


async def _until_ready(child: Child, rpc: NodeRpc, progress: Callable[[str], None]) -> None:
    stage = "BSV node starting"
    progress(stage)
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if child.exit_code is not None:
            raise StartFailed(f"bitcoind ended with code {child.exit_code}:\n{child.log_tail()}")
        try:
            await rpc.call("getblockchaininfo", timeout_s=PROBE_TIMEOUT_S)
        except NodeRefused as refusal:
            if refusal.code != RPC_WARMING_UP:
                raise
            if refusal.reason != stage:
                stage = refusal.reason
                progress(f"BSV node: {stage}")
        except NodeUnreachable:
            pass  # not listening yet
        else:
            return
        await asyncio.sleep(POLL_S)
    raise StartFailed(f"bitcoind does not answer after {START_TIMEOUT_S:.0f} s:\n{child.log_tail()}")
