"""The official client: where its nodes are, and how long it waits for them."""

from __future__ import annotations

import aerospike
from aerospike import exception
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.records.aerospike.answers import failure_of
from mesh.records.errors import Misuse

CONNECT_TIMEOUT_MS = 3_000
WRITE_TIMEOUT_MS = 2_000
READ_TIMEOUT_MS = 2_000
QUERY_TIMEOUT_MS = 30_000


class AerospikeSettings(BaseSettings):
    """How to reach the cluster; from `SATREEL_AEROSPIKE_…`."""

    model_config = SettingsConfigDict(env_prefix="SATREEL_AEROSPIKE_", frozen=True, env_ignore_empty=True)

    hosts: str = Field(description="HOST:PORT,… of some of its nodes.")
    namespace: str = Field("satreel", description="Namespace of all records; without expiry by default.")
    user: str = Field("", description="User, where the cluster asks for one.")
    password: SecretStr = Field(SecretStr(""), description="That user's password.")
    tls_name: str = Field("", description="Name in the nodes' certificates; empty: no TLS.")
    tls_cafile: str = Field("", description="Certificate authority that signed them.")


def open_client(settings: AerospikeSettings) -> aerospike.Client:
    """A connected client. Raises StoreUnavailable, Misuse."""
    try:
        return aerospike.client(client_config(settings))
    except exception.AerospikeError as problem:
        raise failure_of(problem, writes=False) from problem


def client_config(settings: AerospikeSettings) -> dict[str, object]:
    """What the client is told. Raises Misuse for hosts that cannot be read."""
    hosts: list[tuple[str, ...] | tuple[str, int] | tuple[str, int, str]] = []
    for address in settings.hosts.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdecimal():
            raise Misuse(f"SATREEL_AEROSPIKE_HOSTS: {address!r} is not HOST:PORT")
        hosts.append((host, int(port), settings.tls_name) if settings.tls_name else (host, int(port)))
    once = {"max_retries": 0, "total_timeout": WRITE_TIMEOUT_MS, "socket_timeout": WRITE_TIMEOUT_MS}
    # From the master: a copy may lag behind, and what was just written must be read.
    read = {
        "max_retries": 2,
        "total_timeout": READ_TIMEOUT_MS,
        "socket_timeout": READ_TIMEOUT_MS // 2,
        "replica": aerospike.POLICY_REPLICA_MASTER,
    }
    config: dict[str, object] = {
        "hosts": hosts,
        "connect_timeout": CONNECT_TIMEOUT_MS,
        "send_bool_as": aerospike.AS_BOOL,
        "validate_keys": True,
        "policies": {
            "read": read,
            "batch": read,
            "write": {**once, "key": aerospike.POLICY_KEY_SEND, "ttl": aerospike.TTL_NEVER_EXPIRE},
            "remove": once,
            "query": {"total_timeout": QUERY_TIMEOUT_MS},
        },
    }
    if settings.user:
        config |= {"user": settings.user, "password": settings.password.get_secret_value()}
    if settings.tls_name:
        config["tls"] = {"enable": True, "cafile": settings.tls_cafile}
    return config
