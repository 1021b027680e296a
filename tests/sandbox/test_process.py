"""Valkey, and what holds for every child: no orphans, plain words, an end in any case."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from sandbox.binaries import UnsupportedPlatform, node_binaries, valkey_binary
from sandbox.process import PortTaken, free_port, start_child
from sandbox.settings import elsewhere
from sandbox.valkey import running_valkey

PARENT = """
import asyncio, sys
from pathlib import Path
from sandbox.node import NodePorts, start_node
from sandbox.process import free_port
from sandbox.valkey import start_valkey

async def main() -> None:
    folder = Path(sys.argv[1])
    valkey = await start_valkey(folder / "valkey", free_port())
    node = await start_node(folder / "node", NodePorts(rpc=free_port(), zmq=free_port()))
    print(valkey.child.pid, node.child.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_valkey_answers_and_ends(tmp_path: Path) -> None:
    async with running_valkey(tmp_path, free_port()) as valkey, Redis.from_url(valkey.url) as client:
        await client.set("key", "value")
        assert await client.get("key") == b"value"
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    assert valkey.child.exit_code == 0
    assert is_gone(valkey.child.pid)


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Valkey needs port {port}\b.*SATREEL_SANDBOX_FIRST_PORT"):
            async with running_valkey(tmp_path, port):
                pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux'")
async def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    children = [int(pid) for pid in (await asyncio.wait_for(parent.stdout.readline(), 50)).split()]
    assert len(children) == 2
    assert not any(is_gone(pid) for pid in children)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    await until(lambda: all(is_gone(pid) for pid in children))


async def test_a_deaf_child_is_killed(tmp_path: Path) -> None:
    child = await start_child("deaf", [sys.executable, "-c", DEAF], log_path=tmp_path / "deaf.log")
    await until(lambda: child.log_tail() == "up")
    await child.stop(term_wait_s=0.2)
    assert child.exit_code == -signal.SIGKILL


def test_binaries_are_there_and_checked() -> None:
    node = node_binaries()
    assert os.access(node.bitcoind, os.X_OK)
    assert os.access(node.bitcoin_cli, os.X_OK)
    assert node_binaries() == node
    assert os.access(valkey_binary(), os.X_OK)


def test_other_platforms_are_told_which_setting_helps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UnsupportedPlatform, match="SATREEL_NODE_URL"):
        node_binaries(tmp_path)
    with pytest.raises(UnsupportedPlatform, match="SATREEL_REDIS_URL"):
        valkey_binary()
    assert list(tmp_path.iterdir()) == []


def test_a_port_is_given_once_whoever_asks() -> None:
    ports = [free_port() for _ in range(500)]
    ask = "from sandbox.process import free_port; print(*(free_port() for _ in range(500)))"
    ports += map(int, subprocess.check_output([sys.executable, "-c", ask]).split())
    assert len(set(ports)) == 1_000


def test_a_row_of_ports_is_given_once(tmp_path: Path) -> None:
    rows = [elsewhere(tmp_path, replicas=2, sidecars=True) for _ in range(3)]
    ports = [row.first_port + place for row in rows for place in range(row.ports)]
    assert len(set(ports)) == 3 * rows[0].ports
