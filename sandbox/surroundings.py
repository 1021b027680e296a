"""What the mesh stands on and no setting names elsewhere: started here, and told to whom it concerns."""

from __future__ import annotations

import secrets
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sandbox.environment import inherited
from sandbox.node import NodePorts, start_node
from sandbox.parts import Parts
from sandbox.process import LOOPBACK, require_free_port
from sandbox.settings import SandboxSettings
from sandbox.valkey import start_valkey
from topology.parts import PARTS, Backing

# Those that keep feeds, sessions, jobs or limits there.
WITH_REDIS = tuple(part.name for part in PARTS.values() if Backing.REDIS in part.stands_on)


@dataclass(frozen=True, slots=True)
class Found:
    """Where the outside world is."""

    node_url: str
    zmq_endpoint: str
    # By part, what its processes are told.
    told: dict[str, dict[str, str]]


class Surroundings:
    """Starts them as parts, or on the stack: those of the stack end last."""

    def __init__(self, settings: SandboxSettings, parts: Parts, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._parts = parts
        self._stack = stack
        self._data = settings.data_dir.resolve()

    async def start(self) -> Found:
        """Valkey, node, AITubo and, where wanted, WhatsOnChain and ARC."""
        settings = self._settings
        redis_url = settings.redis_url or await self._valkey()
        node_url, zmq_endpoint = settings.node_url.get_secret_value(), settings.node_zmq
        if not node_url:
            node_url, zmq_endpoint = await self._node()
        key = settings.aitubo_key.get_secret_value() or secrets.token_hex(16)
        aitubo_url = settings.aitubo_url or await self._aitubo(key)
        told = {name: {"SATREEL_REDIS_URL": redis_url} for name in WITH_REDIS}
        told["chain"] |= {"SATREEL_CHAIN_NODE_URL": node_url, "SATREEL_CHAIN_NODE_ZMQ": zmq_endpoint}
        if settings.explorers:
            told["chain"] |= await self._explorers(node_url)
        told["content"] |= {"SATREEL_CONTENT_AITUBO_URL": aitubo_url, "SATREEL_CONTENT_AITUBO_KEY": key}
        return Found(node_url, zmq_endpoint, told)

    async def viewer(self) -> str:
        """Starts it; gives where it takes OTLP."""
        port, otlp = self._settings.viewer_port, self._settings.port("viewer-otlp")
        require_free_port(port, part="The viewer", setting="SATREEL_SANDBOX_VIEWER_PORT")
        require_free_port(otlp, part="The viewer (OTLP)", setting="SATREEL_SANDBOX_FIRST_PORT")
        own = {"HTTP_PORT": str(port), "OTLP_PORT": str(otlp), "FILE": str(self._data / "viewer.sqlite")}
        environment = inherited() | {f"SATREEL_VIEWER_{name}": value for name, value in own.items()}
        await self._parts.start("viewer", [sys.executable, "-m", "viewer"], environment)
        await self._parts.until_listening("viewer", port)
        return f"http://{LOOPBACK}:{otlp}"

    async def _valkey(self) -> str:
        valkey = await start_valkey(self._data / "valkey", self._settings.port("valkey"))
        self._stack.push_async_callback(valkey.stop)
        self._parts.progress(f"Valkey ready after {valkey.started_in_s:.1f} s")
        return valkey.url

    async def _node(self) -> tuple[str, str]:
        ports = NodePorts(rpc=self._settings.port("node-rpc"), zmq=self._settings.port("node-zmq"))
        node = await start_node(self._data / "node", ports, progress=self._parts.progress)
        self._stack.push_async_callback(node.stop)
        return node.url, node.zmq_endpoint

    async def _aitubo(self, key: str) -> str:
        port = self._settings.port("aitubo")
        require_free_port(port, part="The AITubo stand-in", setting="SATREEL_SANDBOX_FIRST_PORT")
        own = {
            "KEY": key,
            "PORT": str(port),
            "DATA_DIR": str(self._data / "aitubo"),
            "FILM_SECONDS": str(self._settings.film_s),
        }
        environment = inherited() | {f"SATREEL_SANDBOX_AITUBO_{name}": value for name, value in own.items()}
        await self._parts.start("aitubo", [sys.executable, "-m", "sandbox.aitubo"], environment)
        return f"http://{LOOPBACK}:{port}"

    async def _explorers(self, node_url: str) -> dict[str, str]:
        """Starts WhatsOnChain and ARC over the node; gives what the chain service is told of them."""
        port = self._settings.port("explorers")
        require_free_port(port, part="WhatsOnChain's stand-in", setting="SATREEL_SANDBOX_FIRST_PORT")
        woc_key, arc_key = secrets.token_hex(16), secrets.token_hex(16)
        own = {"NODE_URL": node_url, "PORT": str(port), "WOC_KEY": woc_key, "ARC_KEY": arc_key}
        environment = inherited() | {
            f"SATREEL_SANDBOX_EXPLORERS_{name}": value for name, value in own.items()
        }
        await self._parts.start("explorers", [sys.executable, "-m", "sandbox.explorers"], environment)
        await self._parts.until_listening("explorers", port)
        place = f"{LOOPBACK}:{port}"
        return {
            "SATREEL_CHAIN_WOC_URL": f"http://{place}/v1/bsv/regtest",
            "SATREEL_CHAIN_WOC_SOCKET": f"ws://{place}/websocket/blockHeaders",
            "SATREEL_CHAIN_WOC_KEY": woc_key,
            "SATREEL_CHAIN_WOC_PER_S": "100",
            "SATREEL_CHAIN_ARC_URL": f"http://{place}/arc",
            "SATREEL_CHAIN_ARC_KEY": arc_key,
            "SATREEL_CHAIN_CALLBACK_TOKEN": secrets.token_hex(16),
        }
