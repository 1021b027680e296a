"""What spans may say: OpenTelemetry's own names, as the installed conventions have them, and a few of ours.

No amounts: a number is a status, a cost of an operation, or a size that Envoy counts.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    # Why a span of a trace that is not sampled is told.
    "satreel.kept",
    "satreel.round.id",
    "satreel.tx.id",
    "satreel.tx.purpose",
    "graphql.cost",
    "graphql.executed",
    "graphql.not_planned",
    "graphql.outcome",
}
# What Envoy 1.40 says of itself, and cannot be told to say otherwise: not all are names of today.
ENVOY = {
    "canceled",
    "component",
    "downstream_cluster",
    "error",
    "error.reason",
    "grpc.authority",
    "grpc.content_type",
    "grpc.message",
    "grpc.path",
    "grpc.status_code",
    "grpc.timeout",
    "guid:x-request-id",
    "http.method",
    "http.protocol",
    "http.status_code",
    "http.url",
    "node_id",
    "peer.address",
    "request_size",
    "response_flags",
    "response_size",
    "retry.count",
    "upstream_address",
    "upstream_cluster",
    "upstream_cluster.name",
    "user_agent",
    "zone",
}
NUMBERS = {
    "graphql.cost",
    "grpc.status_code",
    "http.response.status_code",
    "http.status_code",
    "request_size",
    "response_size",
    "retry.count",
}


@cache
def conventions() -> frozenset[str]:
    """Names of OpenTelemetry's semantic conventions that are not deprecated without a stable successor."""
    found: set[str] = set()
    for package in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            for file in Path(folder).glob("*_attributes.py"):
                found |= set(_current(ast.parse(file.read_text()).body))
    return frozenset(found)


def _current(body: list[ast.stmt]) -> Iterator[str]:
    for said, words in zip(body, [*body[1:], ast.Pass()], strict=True):
        if not isinstance(said, ast.AnnAssign) or not isinstance(said.value, ast.Constant):
            continue
        told = ast.unparse(words) if isinstance(words, ast.Expr) else ""
        if "Deprecated" not in told:
            yield str(said.value.value)


def declared() -> set[str]:
    """Names that our code gives to spans: what looks like one, wherever telemetry is used."""
    found: set[str] = set()
    for package in ("mesh", "graphql_gateway", "services"):
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text())
            if "telemetry" in file.read_text():
                found |= {name for name in _names(tree) if "." in name}
    return found


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        keys: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            keys = list(node.keys)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keys = [*node.args[:1]] if node.func.attr == "set_attribute" else []
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def strange(told: Iterable[Mapping[str, object]]) -> set[tuple[str, object]]:
    """Attributes of spans that none may have: an unknown name, or a number that is not of `NUMBERS`."""
    known = conventions() | OURS | ENVOY
    return {
        (name, value)
        for attributes in told
        for name, value in attributes.items()
        if name not in known or (name not in NUMBERS and _is_number(value))
    }


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or str(value).lstrip("-").replace(".", "", 1).isdecimal()
