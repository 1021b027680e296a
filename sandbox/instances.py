"""The processes of services and gateway: their names, where they listen, and what each is told."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh import tls
from sandbox.process import LOOPBACK, require_free_port
from sandbox.settings import REPLICATED, SERVICES, SIDECAR_PORTS, SandboxSettings
from topology import edge, sidecar
from topology.calls import called_by
from topology.parts import GATEWAY, PARTS, Instances

# Where `make setup` puts them.
ROOT = Path(__file__).resolve().parents[1]
GRAPHIQL_FILES = ROOT / ".satreel" / "graphiql"
PAGE_FILES = ROOT / ".satreel" / "openapi-page"
DESCRIPTORS = ROOT / "gen" / "descriptors.binpb"
# Of requests, of cost and of log-ins.
CALLS_PER_MIN = 10_000_000
# Between saying that it leaves and going: where there are others, callers look for them meanwhile.
DRAIN_ALONE_S, DRAIN_S = 0.2, 2.0
# Of a sidecar's ports: where others call, its own pages, and from here on where each peer is called.
_INBOUND, _ADMIN, _OUTBOUND = 0, 1, 2
# Ports beside the one of its work.
_MORE = {"content": "content-media", "chain": "chain-callbacks"}


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service or of the gateway."""

    part: str
    replica: int
    # As its log and the launcher call it.
    name: str

    @property
    def argv(self) -> list[str]:
        """What starts it."""
        return [sys.executable, "-m", PARTS[self.part].module]

    @property
    def leads_alone(self) -> bool:
        """Whether of several like it one answers, and the others wait."""
        return PARTS[self.part].instances is Instances.LEADER


class Layout:
    """Who runs where, as the settings want it."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._data = settings.data_dir.resolve()
        self.tls_dir = self._data / "tls"
        self.instances = tuple(self._instances())

    def _instances(self) -> Iterator[Instance]:
        replicas = self._settings.replicas
        for replica in range(1, replicas + 1):
            for part in REPLICATED:
                yield Instance(part, replica, part if replicas == 1 else f"{part}-{replica}")

    @property
    def has_sidecars(self) -> bool:
        """Whether each instance stands behind one."""
        return self._settings.sidecars

    def of(self, part: str) -> tuple[Instance, ...]:
        """Its instances."""
        return tuple(one for one in self.instances if one.part == part)

    def address(self, instance: Instance) -> str:
        """Where it does its work, HOST:PORT."""
        return f"{LOOPBACK}:{self._settings.port(instance.part, instance.replica)}"

    def entrance(self, instance: Instance) -> str:
        """Where others call it, by mTLS (but for a gateway without a sidecar)."""
        return self._at_sidecar(instance, _INBOUND) if self._settings.sidecars else self.address(instance)

    def entrances(self, part: str) -> tuple[str, ...]:
        """Of all its instances."""
        return tuple(self.entrance(one) for one in self.of(part))

    def _at_sidecar(self, instance: Instance, place: int) -> str:
        return f"{LOOPBACK}:{self._settings.sidecar_port(instance.part, instance.replica, place)}"

    def _peers(self, instance: Instance) -> dict[str, str]:
        """Where it calls each service: at its sidecar, or at all instances."""
        if not self._settings.sidecars:
            return {name: ",".join(self.entrances(name)) for name in SERVICES}
        called = called_by(instance.part)
        return {name: self._at_sidecar(instance, _OUTBOUND + place) for place, name in enumerate(called)}

    def sidecar_places(self, instance: Instance, otlp_endpoint: str) -> sidecar.Places:
        """Of its sidecar; `otlp_endpoint` as in `SATREEL_OTLP_ENDPOINT`."""
        return sidecar.Places(
            part=instance.part,
            folder=self._data / "sidecars" / instance.name,
            listen=self._at_sidecar(instance, _INBOUND),
            application=self.address(instance),
            peers={
                name: sidecar.Peer(listen, self.entrances(name))
                for name, listen in self._peers(instance).items()
            },
            admin=self._at_sidecar(instance, _ADMIN),
            tls=self.tls_dir,
            otlp=otlp_endpoint.removeprefix("http://") or None,
        )

    def require_ports(self) -> None:
        """Raises PortTaken for the first that somebody else has."""
        settings = self._settings
        for one in self.instances:
            for listens in filter(None, (one.part, _MORE.get(one.part))):
                port = settings.port(listens, one.replica)
                require_free_port(port, part=f"The mesh ({one.name})", setting="SATREEL_SANDBOX_FIRST_PORT")
            for place in range(SIDECAR_PORTS if settings.sidecars else 0):
                port = settings.sidecar_port(one.part, one.replica, place)
                require_free_port(port, part=f"A sidecar ({one.name})", setting="SATREEL_SANDBOX_FIRST_PORT")
        for port, setting in (
            (settings.port("edge-admin"), "FIRST_PORT"),
            (settings.http_port, "HTTP_PORT"),
            (settings.https_port, "HTTPS_PORT"),
        ):
            require_free_port(port, part="The edge", setting=f"SATREEL_SANDBOX_{setting}")

    def certificates(self) -> dict[str, str]:
        """What every part of the mesh is told of them; makes the key of user tokens."""
        _, public_key = tls.make_user_token_keys(self.tls_dir)
        return {
            "SATREEL_TLS_DIR": str(self.tls_dir),
            "SATREEL_BEHIND_SIDECAR": str(self._settings.sidecars).lower(),
            "SATREEL_USER_TOKEN_KEY": str(public_key),
            "SATREEL_DATA_DIR": str(self._data),
            "SATREEL_DRAIN_S": str(DRAIN_ALONE_S if self._settings.replicas == 1 else DRAIN_S),
        }

    def own_environment(self, admin_addresses: list[str]) -> dict[str, dict[str, str]]:
        """By name, what each instance alone is told."""
        ticket_key = secrets.token_hex(16)
        return {one.name: self._own(one, admin_addresses, ticket_key) for one in self.instances}

    def _own(self, one: Instance, admin_addresses: list[str], ticket_key: str) -> dict[str, str]:
        settings = self._settings
        own = {"HTTP_LISTEN" if one.part == GATEWAY else "LISTEN": self.address(one)}
        more = f"{LOOPBACK}:{settings.port(_MORE[one.part], one.replica)}" if one.part in _MORE else ""
        match one.part:
            case "identity":
                own |= {"ADMIN_ADDRESSES": json.dumps(admin_addresses), "NETWORK": "regtest"}
            case "rounds":
                own |= {"LENGTH_S": str(settings.round_s), "GRACE_S": str(settings.grace_s)}
            case "content":
                own |= {"MEDIA_LISTEN": more, "INSTANCE": f"content-{one.replica}"}
                if settings.replicas > 1:
                    # By the edge: who ordered may be gone when the picture is fetched.
                    own["MEDIA_URL"] = f"http://{LOOPBACK}:{settings.http_port}"
            case "chain":
                own |= {"NETWORK": "regtest", "BATCH_S": "1", "CALLBACK_LISTEN": more}
                if settings.explorers:
                    # Who leads sends, and so is who is called back.
                    own["CALLBACK_URL"] = f"http://{more}/arc/callbacks"
            case "gateway":
                own |= {"TRUSTED_PROXIES": "1", "PROFILE": "development", "TICKET_KEY": ticket_key}
                # Everybody here calls from one address.
                limits = ("REQUESTS", "ADDRESS_REQUESTS", "COST", "LOG_INS")
                own |= {f"{limit}_PER_MIN": str(CALLS_PER_MIN) for limit in limits}
                if GRAPHIQL_FILES.is_dir():
                    own["GRAPHIQL_FILES"] = str(GRAPHIQL_FILES)
        named = {f"SATREEL_{one.part.upper()}_{name}": value for name, value in own.items()}
        return named | {"SATREEL_PEERS": json.dumps(self._peers(one))}

    def _pictures(self) -> tuple[str, ...]:
        if self._settings.replicas == 1:
            return ()
        ports = (self._settings.port(_MORE["content"], one.replica) for one in self.of("content"))
        return tuple(f"{LOOPBACK}:{port}" for port in ports)

    def edge_places(self, otlp_endpoint: str) -> edge.Places:
        """Of the edge in front of all; `otlp_endpoint` as in `SATREEL_OTLP_ENDPOINT`."""
        settings, tls_dir = self._settings, self.tls_dir
        return edge.Places(
            folder=self._data / "edge",
            https=f"{LOOPBACK}:{settings.https_port}",
            http=f"{LOOPBACK}:{settings.http_port}",
            admin=f"{LOOPBACK}:{settings.port('edge-admin')}",
            tls=tls_dir,
            site_certificate=tls_dir / "edge.pem",
            site_key=tls_dir / "edge.key",
            descriptors=DESCRIPTORS,
            gateway=self.entrances(GATEWAY),
            pictures=self._pictures(),
            gateway_has_sidecar=settings.sidecars,
            services={name: self.entrances(name) for name in SERVICES},
            openapi=edge.OPENAPI,
            allowed_origins=tuple(json.loads(os.environ.get("SATREEL_GATEWAY_ALLOWED_ORIGINS", "[]"))),
            otlp=otlp_endpoint.removeprefix("http://") or None,
            trace_ratio=1,
            pages=next(PAGE_FILES.glob("swagger-ui-dist@*"), None),
            # Everybody here calls from one address.
            limits=edge.Limits(
                requests_per_s=CALLS_PER_MIN,
                requests_at_once=CALLS_PER_MIN,
                large_per_s=CALLS_PER_MIN,
                large_at_once=CALLS_PER_MIN,
                pages_per_s=CALLS_PER_MIN,
                pages_at_once=CALLS_PER_MIN,
            ),
        )
