"""Settings of the gateway."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from pydantic import DirectoryPath, Field, FilePath, SecretStr

from graphql_gateway.safety.admission import TOKENS_MAX
from graphql_gateway.safety.budget import Quotas
from graphql_gateway.safety.price import Bounds
from mesh.config import Address, MeshSettings

_LARGEST = Bounds()
_QUOTAS = Quotas()


class GatewaySettings(MeshSettings, env_prefix="SATREEL_GATEWAY_"):
    """What the gateway needs to know beside what every service does."""

    service: ClassVar[str] = "gateway"
    faces_strangers: ClassVar[bool] = True

    http_listen: Address = Field(
        "127.0.0.1:8080", description="Address that clients speak HTTP to, HOST:PORT."
    )
    workers: int = Field(
        1, ge=0, le=256, description="Processes that serve this address; 0: one for each core we may use."
    )
    profile: Literal["production", "development"] = Field(
        "production",
        description="In development there are introspection, suggestions in errors and GraphiQL.",
    )
    graphiql_files: DirectoryPath | None = Field(
        None,
        description="Folder of GraphiQL's scripts, which `make setup` fetches; without one the browser "
        "gets them from unpkg.com.",
    )
    subgraph: bool = Field(
        False,
        description="Answer `_service` and `_entities`, so that a federation router can take the graph into "
        "its supergraph. They tell the schema: keep them from strangers.",
    )
    request_bytes_max: int = Field(
        10_485_760, gt=0, description="Largest upload, all parts together: 10 MiB. Other requests: 256 KiB."
    )
    head_s: float = Field(10.0, gt=0, le=60, description="Time to send the head of a request in.")
    request_s: float = Field(10.0, gt=0, le=60, description="Time to send a request in, uploads apart.")
    upload_s: float = Field(60.0, gt=0, le=600, description="Time to send an upload in.")
    uploads_max: int = Field(16, gt=0, description="Uploads at a time; each is in memory whole.")
    connection_init_timeout_s: float = Field(
        5.0, gt=0, le=60, description="Time a WebSocket has to send connection_init."
    )
    send_s: float = Field(
        20.0, gt=0, le=300, description="Time a WebSocket's client has to take a message; then it is dropped."
    )
    ping_s: float = Field(
        20.0,
        gt=0,
        le=300,
        description="Time between pings of a WebSocket; a pong must come within half of it.",
    )
    subscriptions_per_socket_max: int = Field(100, gt=0, description="Operations that run on one WebSocket.")
    operations_per_client_max: int = Field(
        32, gt=0, description="Operations of one client under way at once, over HTTP; others wait their turn."
    )
    messages_per_s: int = Field(
        100, gt=0, description="Messages that a WebSocket may send, on average; twice as many at once."
    )
    connections_per_address_max: int = Field(
        1_000, gt=0, description="WebSockets and event streams of an address, or IPv6 /64 network."
    )
    connections_per_user_max: int = Field(
        50, gt=0, description="WebSockets and event streams of a signed-in user."
    )
    viewer_cache_s: float = Field(
        3.0,
        ge=0,
        le=5,
        description="How long a checked access token is trusted; a revoked one is out within it.",
    )
    allowed_origins: list[str] = Field(
        default_factory=list,
        description="Origins of web pages beside our own that may use the gateway, JSON list.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=8,
        description="Proxies of ours before the gateway: the client is who the farthest of them names in "
        "X-Forwarded-For. With 0 that header is not read.",
    )
    ticket_key: SecretStr = Field(
        SecretStr(""),
        description="Key of film tickets, the same in all gateways; empty: a random one for this process.",
    )
    tokens_max: int = Field(TOKENS_MAX, gt=0, description="Most tokens in a GraphQL document.")
    document_chars_max: int = Field(_LARGEST.chars, gt=0, description="Most characters of a document.")
    depth_max: int = Field(_LARGEST.depth, gt=0, description="Most levels of fields in an operation.")
    fields_max: int = Field(_LARGEST.fields, gt=0, description="Most fields, all fragments written out.")
    aliases_max: int = Field(_LARGEST.aliases, gt=0, description="Most aliases, all fragments written out.")
    cost_max: int = Field(
        _LARGEST.cost,
        gt=0,
        description="Largest cost: values of the answer, were all its lists full, and calls.",
    )

    documents: Literal["any", "trusted"] = Field(
        "any", description="Which documents are carried out: any, or those of TRUSTED_DOCUMENTS only."
    )
    trusted_documents: list[FilePath] = Field(
        default_factory=list, description="Manifests of the front ends' documents, JSON list of files."
    )
    persisted_s: int = Field(86_400, gt=0, description="How long an automatic persisted query is kept.")
    persisted_max: int = Field(10_000, gt=0, description="Automatic persisted queries kept; the oldest go.")
    requests_per_min: int = Field(
        _QUOTAS.requests, gt=0, description="Requests of a user, or of an address where nobody is signed in."
    )
    address_requests_per_min: int = Field(
        _QUOTAS.address, gt=0, description="Requests from one address, or IPv6 /64 network, signed in or not."
    )
    cost_per_min: int = Field(
        _QUOTAS.cost, gt=0, description="Cost of a user's operations, or an address's; at least COST_MAX."
    )
    log_ins_per_min: int = Field(
        _QUOTAS.log_ins, gt=0, description="Challenges, log-ins and refreshed tokens of an address."
    )

    @property
    def address(self) -> str:
        """Where clients call it: it serves no gRPC."""
        return self.http_listen

    @property
    def worker_count(self) -> int:
        """Processes that serve the address."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def is_parent(self) -> bool:
        """Whether there are several processes, which have a parent."""
        return self.worker_count > 1

    @property
    def is_open(self) -> bool:
        """Whether strangers may look at the schema."""
        return self.profile == "development"

    @property
    def quotas(self) -> Quotas:
        """What a client may ask for within a minute."""
        return Quotas(
            address=self.address_requests_per_min,
            requests=self.requests_per_min,
            cost=self.cost_per_min,
            log_ins=self.log_ins_per_min,
        )

    @property
    def bounds(self) -> Bounds:
        """The largest operation."""
        return Bounds(
            self.depth_max, self.fields_max, self.aliases_max, self.cost_max, self.document_chars_max
        )
