"""What gRPC's core cannot read in a request's head never reaches a service.

A connection to a service carries the calls of many clients, and names a header once (HPACK, RFC 7541). What
the core cannot read spoils its name: calls of others that come behind are refused, too, with "Error
parsing 'grpc-timeout' metadata", until the name is told anew.
"""

from __future__ import annotations

from topology.envoy import Json

# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: eight digits at most, and a unit.
_READABLE = {"grpc-timeout": "[0-9]{1,8}[HMSmun]", "grpc-encoding": "identity|deflate|gzip"}
# No client has to say these; the core reads them all the same. Names that end in "-bin" must be in base64.
_SERVERS = (
    "grpc-internal-encoding-request",
    "grpc-previous-rpc-attempts",
    "grpc-retry-pushback-ms",
    "grpc-status",
)
_BINARY = {"remove_on_match": {"key_matcher": {"suffix": "-bin", "ignore_case": True}}}


def taken_heads() -> list[Json]:
    """Mutations of a request, for the headers that nobody needs."""
    return [*({"remove": key} for key in _SERVERS), _BINARY]


def unreadable_heads() -> list[Json]:
    """Route matches, for requests that say what they may in a way that cannot be read."""
    return [
        {"prefix": "/", "headers": [{"name": key, "string_match": _is(regex), "invert_match": True}]}
        for key, regex in _READABLE.items()
    ]


def _is(regex: str) -> Json:
    return {"safe_regex": {"regex": regex}}
