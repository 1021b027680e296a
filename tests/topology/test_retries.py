"""A call is made again where its contract says that it may be, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from mesh.service_config import service_config
from topology import edge, sidecar
from topology.calls import Call, all_calls, called_by
from topology.edge.routes import route_configuration
from topology.envoy import Json
from topology.parts import GATEWAY, PARTS, SERVICES
from topology.sidecar.outbound import outbound

# Of the wheel that teams have; nothing here stands on it.
CLIENT = Path(__file__).parents[2] / "clients" / "python"
NOWHERE = ("127.0.0.1:1",)
MAY_BE = {call.method.path for call in all_calls() if call.method.repeatable}
UNARY = {call.method.path for call in all_calls() if not call.method.streams}


def repeated(configuration: Json) -> set[str]:
    """Methods whose routes repeat what a service may have begun."""
    (host,) = configuration["virtual_hosts"]
    assert "unavailable" not in host["retry_policy"]["retry_on"]
    return {
        route["match"]["path"]
        for route in host["routes"]
        if {"unavailable", "reset"}
        & set(route.get("route", {}).get("retry_policy", {"retry_on": ""})["retry_on"].split(","))
    }


def by_config(config: Json) -> set[str]:
    return {
        f"/{name['service']}/{name['method']}"
        for one in config["methodConfig"]
        if "retryPolicy" in one
        for name in one["name"]
    }


def test_contracts_name_some_that_may_be_and_some_that_may_not() -> None:
    assert MAY_BE
    assert {call.method.path for call in all_calls()} - MAY_BE


def test_at_the_edge(tmp_path: Path) -> None:
    places = edge.Places(
        folder=tmp_path,
        https="127.0.0.1:1",
        http=None,
        admin="127.0.0.1:1",
        tls=tmp_path,
        site_certificate=tmp_path,
        site_key=tmp_path,
        descriptors=tmp_path,
        gateway=NOWHERE,
        services=dict.fromkeys(SERVICES, NOWHERE),
        openapi=edge.OPENAPI,
    )
    assert repeated(route_configuration(places)) == MAY_BE & UNARY


@pytest.mark.parametrize("part", [*SERVICES, GATEWAY])
def test_by_sidecars(tmp_path: Path, part: str) -> None:
    peers = {name: sidecar.Peer("127.0.0.1:1", NOWHERE) for name in called_by(part)}
    places = sidecar.Places(
        part=part, folder=tmp_path, listen="127.0.0.1:1", application="127.0.0.1:1", peers=peers,
        admin="127.0.0.1:1", tls=tmp_path,
    )  # fmt: skip
    for peer in peers:
        (filter_,) = outbound(peer, places)["filter_chains"][0]["filters"]
        own = {call.method.path for call in calls_of(peer) if part in call.callers}
        assert repeated(filter_["typed_config"]["route_config"]) == own & MAY_BE & UNARY


@pytest.mark.parametrize("service", SERVICES)
def test_by_channels_and_by_teams(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CLIENT)
    from satreel.calling import service_config as of_the_wheel

    name = PARTS[service].contract
    assert name is not None
    own = {call.method.path for call in calls_of(service)}
    assert by_config(service_config(name)) == own & MAY_BE
    contract = descriptor_pool.Default().FindServiceByName(name).file
    assert by_config(of_the_wheel(contract)) == own & MAY_BE
    # A sidecar repeats for its application: both together would multiply.
    assert not by_config(service_config(name, repeats=False))


def calls_of(service: str) -> list[Call]:
    return [call for call in all_calls() if call.service == service]
