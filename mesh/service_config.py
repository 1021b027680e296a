"""How gRPC finds the servers of a peer, and what of their calls it repeats: from the contracts."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from mesh import contracts

ATTEMPTS_MAX = 4
_RETRY = {
    "maxAttempts": ATTEMPTS_MAX,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
# A smaller budget loses calls when one host of three is bad.
_RETRY_BUDGET = {"maxTokens": 100, "tokenRatio": 0.5}


def target_of(addresses: str) -> str:
    """The gRPC target of "HOST:PORT[,HOST:PORT…]": several must be numeric, a single one may be a name.

    Raises ValueError for several names: give one DNS name that has several addresses instead.
    """
    found = [address.strip().replace("localhost:", "127.0.0.1:") for address in addresses.split(",")]
    if all(_is_ipv4(address) for address in found):
        return "ipv4:" + ",".join(found)
    if len(found) == 1:
        return f"dns:///{found[0]}"
    raise ValueError(f"several addresses must be IPv4 ones: {addresses}")


def service_config(
    service: str, *, health: str = "", health_checked: bool = True, repeats: bool = True
) -> dict[str, Any]:
    """gRPC's service config, made from the contract.

    Calls go to servers that report `health` as serving, by default the service itself.
    """
    repeatable = [
        {"service": found.service, "method": found.name}
        for found in contracts.service_methods(service)
        if repeats and found.repeatable
    ]
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        **({"healthCheckConfig": {"serviceName": health or service}} if health_checked else {}),
        "retryThrottling": _RETRY_BUDGET,
        "methodConfig": [{"name": repeatable, "retryPolicy": _RETRY}] if repeatable else [],
    }


def _is_ipv4(address: str) -> bool:
    try:
        IPv4Address(address.rpartition(":")[0])
    except ValueError:
        return False
    return True
