"""Who may come in by address: two lists in a small file, which Envoy reads again when it is moved."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

from topology.envoy import Json, typed

ADDRESSES_FILE = "addresses.json"
# Name of the filter, and of what it discovers.
FILTER = "satreel.addresses"
RBAC_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"


def resource(allow: Iterable[str] = (), deny: Iterable[str] = ()) -> str:
    """The file for these addresses or networks. Raises ValueError for what is neither."""
    allowed, denied = _ranges(allow), _ranges(deny)
    rules: list[Json] = [{"or_ids": {"ids": allowed}} if allowed else {"any": True}]
    if denied:
        rules.append({"not_id": {"or_ids": {"ids": denied}}})
    policy = {"permissions": [{"any": True}], "principals": [{"and_ids": {"ids": rules}}]}
    rbac = typed(RBAC_TYPE, rules={"action": "ALLOW", "policies": {"addresses": policy}})
    found = typed(
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", name=FILTER, typed_config=rbac
    )
    return json.dumps({"resources": [found]}, indent=1) + "\n"


def read_lists(text: str) -> tuple[list[str], list[str]]:
    """Those allowed and those denied, of a file that `resource` made."""
    policies = json.loads(text)["resources"][0]["typed_config"]["rules"]["policies"]
    allow, *deny = policies["addresses"]["principals"][0]["and_ids"]["ids"]
    return _networks(allow), _networks(deny[0]["not_id"]) if deny else []


def _ranges(networks: Iterable[str]) -> list[Json]:
    parsed = [ip_network(network, strict=False) for network in networks]
    return [
        {"remote_ip": {"address_prefix": str(one.network_address), "prefix_len": one.prefixlen}}
        for one in parsed
    ]


def _networks(rule: Json) -> list[str]:
    ranges = [one["remote_ip"] for one in rule.get("or_ids", {"ids": []})["ids"]]
    return [f"{one['address_prefix']}/{one['prefix_len']}" for one in ranges]


def place(folder: Path, text: str) -> None:
    """Moves the file in place, as Envoy wants to see it."""
    fresh = folder / f".{ADDRESSES_FILE}.{os.getpid()}"
    fresh.write_text(text)
    fresh.replace(folder / ADDRESSES_FILE)
