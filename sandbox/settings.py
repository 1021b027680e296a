"""Settings of the sandbox: what the launcher starts, where it listens, and what it leaves to you."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.process import free_port, free_ports

SERVICES = ("identity", "ledger", "chain", "content", "rounds", "market", "insight")
# Those that may run several times, as they are started.
REPLICATED = (*SERVICES, "gateway")

# Their place is their port's distance from the first.
_PARTS = (
    "identity",
    "content",
    "rounds",
    "ledger",
    "market",
    "chain",
    "insight",
    "content-media",
    "valkey",
    "node-rpc",
    "node-zmq",
    "aitubo",
    "explorers",
    "chain-callbacks",
    "viewer-otlp",
    "gateway",
    "edge-admin",
)

REPLICAS_MAX = 4
# Its own two, and one for each service that is called through it.
SIDECAR_PORTS = 16


class SandboxSettings(BaseSettings):
    """The whole mesh on one machine. Each setting is also SATREEL_SANDBOX_<NAME> unless it says another."""

    model_config = SettingsConfigDict(
        env_prefix="SATREEL_SANDBOX_",
        populate_by_name=True,
        cli_prog_name="python -m sandbox run",
        cli_kebab_case=True,
    )

    data_dir: Path = Field(
        Path(".satreel/data"),
        validation_alias=AliasChoices("data_dir", "SATREEL_DATA_DIR"),
        description="folder of everything the run keeps (SATREEL_DATA_DIR)",
    )
    http_port: int = Field(
        8080, ge=1, le=65535, description="port of the edge in clear: GraphQL, media, GraphiQL, REST"
    )
    https_port: int = Field(8443, ge=1, le=65535, description="port of the edge with TLS 1.3; gRPC too")
    viewer_port: int = Field(
        8090, ge=0, le=65535, description="port of the viewer of traces and metrics; 0: none is started"
    )
    otlp_endpoint: str = Field(
        "",
        validation_alias=AliasChoices("otlp_endpoint", "SATREEL_OTLP_ENDPOINT"),
        description="an OTLP/gRPC collector of your own, http://host:port: every trace goes there, and no "
        "viewer is started (SATREEL_OTLP_ENDPOINT)",
    )
    first_port: int = Field(
        7101,
        ge=1024,
        le=65000,
        description=f"first of {len(_PARTS)} ports in a row for services and the outside world; as many more "
        f"for each further replica, and {SIDECAR_PORTS} for each sidecar",
    )
    replicas: int = Field(
        1, ge=1, le=REPLICAS_MAX, description="processes of each service and of the gateway"
    )
    sidecars: bool = Field(
        False, description="each of them stands behind an Envoy of its own, which speaks mTLS for it"
    )
    round_s: float = Field(30.0, gt=0, le=3600, description="length of a round, in seconds")
    grace_s: float = Field(3.0, ge=0, le=300, description="time for late reports after a round, in seconds")
    block_interval_s: float = Field(8.0, gt=0, le=3600, description="mean time between blocks, in seconds")
    film_s: float = Field(2.0, gt=0, le=60, description="length of a film, in seconds")
    redis_url: str = Field(
        "",
        validation_alias=AliasChoices("redis_url", "SATREEL_REDIS_URL"),
        description="a Redis or Valkey server of your own; empty: one is started (SATREEL_REDIS_URL)",
    )
    node_url: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("node_url", "SATREEL_NODE_URL"),
        description="JSON-RPC of a BSV node of your own, in regtest, as blocks and coins are mined on it: "
        "http://user:password@host:port; empty: one is started (SATREEL_NODE_URL)",
    )
    node_zmq: str = Field(
        "",
        validation_alias=AliasChoices("node_zmq", "SATREEL_NODE_ZMQ"),
        description="ZMQ of that node with hashblock and rawtx, tcp://host:port; empty: it is asked "
        "again and again (SATREEL_NODE_ZMQ)",
    )
    explorers: bool = Field(
        False,
        description="the chain service reads from WhatsOnChain and sends through ARC, as in production: "
        "stand-ins of both are started over the node",
    )
    aitubo_url: str = Field(
        "",
        validation_alias=AliasChoices("aitubo_url", "SATREEL_AITUBO_URL"),
        description="AITubo's address; empty: a stand-in that renders is started (SATREEL_AITUBO_URL)",
    )
    aitubo_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("aitubo_key", "SATREEL_AITUBO_KEY"),
        description="key for AITubo (SATREEL_AITUBO_KEY)",
    )

    def port(self, part: str, replica: int = 1) -> int:
        """The port of a part of the mesh."""
        return self.first_port + (replica - 1) * len(_PARTS) + _PARTS.index(part)

    def sidecar_port(self, part: str, replica: int, place: int) -> int:
        """One of the SIDECAR_PORTS of the sidecar of a service or of the gateway, counted from 0."""
        row = (replica - 1) * len(REPLICATED) + REPLICATED.index(part)
        return self.first_port + self.replicas * len(_PARTS) + row * SIDECAR_PORTS + place

    @property
    def ports(self) -> int:
        """How many there are from the first on."""
        sidecars = self.replicas * len(REPLICATED) if self.sidecars else 0
        return self.replicas * len(_PARTS) + sidecars * SIDECAR_PORTS


# What may be somebody else's, and so stays the same wherever a mesh runs.
_OUTSIDE = {"redis_url", "node_url", "node_zmq", "aitubo_url", "aitubo_key"}
# What is played, and by how many.
_PLAYED = {"round_s", "grace_s", "film_s", "explorers", "replicas", "sidecars"}


def beside(settings: SandboxSettings, data_dir: Path) -> SandboxSettings:
    """The same settings for a mesh with a folder and ports of its own."""
    fields = settings.model_dump(include=_OUTSIDE | _PLAYED)
    return elsewhere(data_dir, **fields)


def elsewhere(data_dir: Path, **overrides: object) -> SandboxSettings:
    """Settings for a mesh of its own, on ports that nobody else is given: for tests and the demo."""
    fields = {
        "data_dir": data_dir,
        "http_port": free_port(),
        "https_port": free_port(),
        "viewer_port": 0,
        **overrides,
    }
    ports = SandboxSettings.model_validate(fields).ports
    return SandboxSettings.model_validate({"first_port": free_ports(ports), **fields})
