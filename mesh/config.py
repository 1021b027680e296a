"""Settings: environment variables, typed and documented, one class per service.

Settings that all services share are read from `SATREEL_…`, a service's own from `SATREEL_<SERVICE>_…`:

    class LedgerSettings(MeshSettings, env_prefix="SATREEL_LEDGER_"):
        service: ClassVar[str] = "ledger"
        listen: str = "127.0.0.1:7104"
        snapshot_every_batches: int = Field(10_000, gt=0, description="Journal batches between snapshots.")
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

MESSAGE_BYTES_MAX = 10 * 1024 * 1024 - 1024
# Of a call: the edge lets in 60 KiB (topology.edge.Limits), and everybody on the way adds some.
HEAD_BYTES_MAX = 96 * 1024

Settings = TypeVar("Settings", bound="MeshSettings")


def _host_and_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:7104")
    return address


def _peer_addresses(addresses: str) -> str:
    for address in addresses.split(","):
        _host_and_port(address.strip())
    return addresses


Address = Annotated[str, AfterValidator(_host_and_port)]
Addresses = Annotated[str, AfterValidator(_peer_addresses)]


def shared(variable: str, default: Any, description: str, **rules: Any) -> Any:
    """A setting with one name for all services."""
    return Field(default, validation_alias=variable, description=description, **rules)


class MeshSettings(BaseSettings):
    """What the runtime itself needs to know. Each service inherits it and adds its own."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        env_prefix="SATREEL_",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may be a passphrase
    )

    service: ClassVar[str] = "mesh"
    # Whether anybody may call it, rather than services of ours alone.
    faces_strangers: ClassVar[bool] = False

    listen: Address = Field("127.0.0.1:0", description="Address the gRPC server listens on, HOST:PORT.")
    peers: dict[str, Addresses] = shared(
        "SATREEL_PEERS", {}, 'Where the services are: JSON {"ledger": "HOST:PORT[,HOST:PORT…]"}.'
    )
    redis_url: str = shared("SATREEL_REDIS_URL", "redis://127.0.0.1:6379/0", "Redis or Valkey server.")
    data_dir: Path = shared("SATREEL_DATA_DIR", Path(".satreel"), "Folder of record files and media.")
    aerospike_hosts: str = shared(
        "SATREEL_AEROSPIKE_HOSTS",
        "",
        "HOST:PORT,… of an Aerospike cluster; empty: SQLite under the data folder.",
    )
    tls_dir: Path | None = shared(
        "SATREEL_TLS_DIR", None, "Folder with ca.pem and <service>.pem/.key; none: no TLS, loopback only."
    )
    behind_sidecar: bool = shared(
        "SATREEL_BEHIND_SIDECAR",
        False,
        "A sidecar ends mTLS and names the caller in x-forwarded-client-cert. Never set it without one.",
    )
    user_token_key: Path | None = shared(
        "SATREEL_USER_TOKEN_KEY", None, "Public key (PEM, Ed25519) that user tokens are verified with."
    )
    otlp_endpoint: str = shared(
        "SATREEL_OTLP_ENDPOINT", "", "OTLP/gRPC collector, http://HOST:4317; empty: nothing is exported."
    )
    trace_ratio: float = shared(
        "SATREEL_TRACE_RATIO", 0.05, "Part of the traces begun here that are exported.", ge=0, le=1
    )
    trace_slow_s: float = shared(
        "SATREEL_TRACE_SLOW_S", 0.5, "What takes longer is exported whether its trace is or not.", gt=0
    )
    log_level: Literal["debug", "info", "warning", "error"] = shared(
        "SATREEL_LOG_LEVEL", "info", "Least severity that is logged."
    )
    log_format: Literal["json", "text"] = shared("SATREEL_LOG_FORMAT", "json", "How log lines look.")
    drain_s: float = shared(
        "SATREEL_DRAIN_S",
        2.0,
        "Time between reporting NOT_SERVING and refusing new calls; twice that while calls still come.",
        ge=0,
        le=60,
    )
    stop_grace_s: float = shared(
        "SATREEL_STOP_GRACE_S", 10.0, "Time that running calls get to end when stopping.", ge=0, le=300
    )
    message_bytes_max: int = shared(
        "SATREEL_MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX, "Largest gRPC message.", gt=0, lt=10 * 1024 * 1024
    )
    calls_max: int = shared(
        "SATREEL_CALLS_MAX", 1_000, "Unary calls worked on at once; more are refused.", gt=0
    )
    call_wait_max_s: float = shared(
        "SATREEL_CALL_WAIT_MAX_S",
        0.5,
        "Longest that calls may wait for their turn; when they do for a second, new ones are refused.",
        gt=0,
        le=60,
    )
    streams_max: int = shared("SATREEL_STREAMS_MAX", 10_000, "Open streams at once; more are refused.", gt=0)

    @property
    def address(self) -> str:
        """Where it is called, HOST:PORT: with the host's name, what tells this instance from others."""
        return self.listen

    @property
    def records_path(self) -> Path:
        """Where this service's SQLite records are."""
        return self.data_dir / "records" / f"{self.service}.sqlite"

    @property
    def files_dir(self) -> Path:
        """Where media files are."""
        return self.data_dir / "files"


def variable_name(settings: type[MeshSettings], name: str) -> str:
    """The environment variable that sets the field."""
    alias = settings.model_fields[name].validation_alias if name in settings.model_fields else None
    return str(alias) if alias else f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def load(settings: type[Settings], arguments: list[str] | None = None) -> Settings:
    """Reads the settings from the environment.

    With `--help` it prints them and exits; bad values are explained one by one, and it exits with code 2.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(describe(settings))
        raise SystemExit(0)
    if arguments:
        _refuse(f"unknown argument {arguments[0]!r}: settings come from environment variables, see --help")
    try:
        return settings()
    except ValidationError as problem:
        _refuse(*(_explain(settings, error["loc"], error["msg"]) for error in problem.errors()))
    except SettingsError as problem:
        _refuse(f"{problem}: {problem.__cause__}")


def describe(settings: type[MeshSettings]) -> str:
    """All settings with their defaults, for people."""
    lines = [f"Settings of {settings.service}, from environment variables:", ""]
    for name, field in settings.model_fields.items():
        lines += [f"  {variable_name(settings, name)}{_default(field)}", f"      {field.description or ''}"]
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return " (required)"
    return f" = {default}" if default not in (None, "", {}) else ""


def _explain(settings: type[MeshSettings], location: tuple[int | str, ...], message: str) -> str:
    if not location:  # several settings do not fit each other
        return message
    by_variable = {variable_name(settings, name): name for name in settings.model_fields}
    variable = str(location[0])
    name = by_variable.get(variable, variable)
    within = "".join(f"[{part}]" for part in location[1:])
    description = settings.model_fields[name].description if name in settings.model_fields else ""
    return f"{variable_name(settings, name)}{within}: {message} ({description})"


def _refuse(*problems: str) -> NoReturn:
    sys.stderr.write(
        "\n".join(("Cannot start, settings are wrong:", *(f"  {line}" for line in problems))) + "\n"
    )
    raise SystemExit(2)
