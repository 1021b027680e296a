"""How calls were spread over the replicas, as the Envoys that sent them counted."""

from __future__ import annotations

import json
from collections import defaultdict

import aiohttp

from sandbox.launcher import House
from sandbox.process import LOOPBACK
from topology.parts import GATEWAY, SERVICES

Counts = dict[str, dict[str, int]]


async def counted(house: House) -> Counts:
    """By part and address of a replica, the calls that edge and sidecars have sent there."""
    admins = [f"{LOOPBACK}:{house.settings.port('edge-admin')}"]
    admins += [sidecar.places.admin for sidecar in house.sidecars.values()]
    found: Counts = {part: defaultdict(int) for part in (*SERVICES, GATEWAY)}
    async with aiohttp.ClientSession() as client:
        for admin in admins:
            async with client.get(f"http://{admin}/clusters?format=json") as response:
                told = json.loads(await response.read())
            for cluster in told["cluster_statuses"]:
                # Streams and WebSockets, which last, are in clusters of their own.
                part = cluster["name"]
                if part in found:
                    for host in cluster.get("host_statuses", []):
                        where = host["address"]["socket_address"]
                        place = f"{where['address']}:{where['port_value']}"
                        found[part][place] += _requests(host)
    return found


def _requests(host: dict[str, object]) -> int:
    stats = host.get("stats", [])
    assert isinstance(stats, list)
    return sum(int(one.get("value", 0)) for one in stats if one["name"] == "rq_total")


def between(before: Counts, after: Counts) -> Counts:
    """What was sent meanwhile."""
    return {
        part: {place: count - before[part].get(place, 0) for place, count in places.items()}
        for part, places in after.items()
    }
