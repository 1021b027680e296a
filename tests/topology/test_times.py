"""How long a call may take is said once, and is enough to outlast the death of a leader."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from mesh.leases import LOOK_S_MAX, TTL_S
from topology.calls import all_calls
from topology.edge.waiting import AHEAD_S, PAUSE_S
from topology.parts import PARTS, SERVICES
from topology.upstreams import LOOK_AT_OTHERS_S

# Of the wheel that teams have; nothing here stands on it.
CLIENT = Path(__file__).parents[2] / "clients" / "python"
# From its claim until the next leader has read what it needs; the ledger takes 1.4 s for a million transfers.
TAKES_OVER_S = 1.5


def test_who_waits_at_the_edge_outlasts_the_death_of_a_leader() -> None:
    """Whoever is called may have to ask one that leads, so of all services."""
    leaderless_s = TTL_S + LOOK_S_MAX + TAKES_OVER_S + LOOK_AT_OTHERS_S + PAUSE_S
    short = {
        call.method.path: call.method.timeout_s
        for call in all_calls()
        if not call.method.streams and call.method.timeout_s - AHEAD_S < leaderless_s
    }
    assert short == {}


@pytest.mark.parametrize("service", SERVICES)
def test_teams_give_calls_as_long_as_contracts_do(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CLIENT)
    from satreel.calling import service_config

    name = PARTS[service].contract
    assert name is not None
    told = service_config(descriptor_pool.Default().FindServiceByName(name).file)["methodConfig"]
    given = {one["name"][0]["method"]: one["timeout"] for one in told if "timeout" in one}
    own = [call.method for call in all_calls() if call.service == service and not call.method.streams]
    assert given == {method.name: f"{method.timeout_s}s" for method in own}
