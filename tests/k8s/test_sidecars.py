"""Sidecars in a cluster: what they have, what is theirs alone, who is asked how it is, and how a pod ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.k8s.conftest import FOLDERS, WITH_SIDECARS, Manifest, Manifests, render
from tests.k8s.test_manifests import LEADERS, SERVICES, plain_settings, pod
from topology.calls import called_by
from topology.cluster import PLACES
from topology.edge import BOOTSTRAP_FILE, files
from topology.parts import EDGE, GATEWAY, MONITOR_PORT, PARTS
from topology.sidecar import MIB

UNITS = {"Mi": MIB, "Gi": 1024 * MIB}


@pytest.fixture(params=sorted(WITH_SIDECARS))
def beside(request: pytest.FixtureRequest) -> Manifests:
    return render(request.param)


def parts_of(manifests: Manifests, part: str) -> tuple[Manifest, Manifest]:
    """The container of the application, and that of its sidecar."""
    found = pod(manifests.named("Deployment", part))
    (application,) = found["containers"]
    (envoy,) = found["initContainers"]
    return application, envoy


def configuration(manifests: Manifests, part: str) -> dict[str, Any]:
    """What the Envoy of a part starts with."""
    (name,) = [
        volume["configMap"]["name"]
        for volume in pod(manifests.named("Deployment", part))["volumes"]
        if volume["name"] == "envoy"
    ]
    return json.loads(manifests.named("ConfigMap", name)["data"]["envoy.json"])  # type: ignore[no-any-return] # JSON


def listens(configuration: dict[str, Any]) -> dict[str, str]:
    """By listener, its address."""
    found = {}
    for listener in configuration["static_resources"]["listeners"]:
        address = listener["address"]["socket_address"]
        found[listener["name"]] = f"{address['address']}:{address['port_value']}"
    return found


def test_it_starts_before_the_application_and_ends_after_it(beside: Manifests) -> None:
    for part in SERVICES:
        application, envoy = parts_of(beside, part)
        # Both make a native sidecar: an init container that goes on, and a probe that the next one waits for.
        assert envoy["restartPolicy"] == "Always"
        assert envoy["startupProbe"]["httpGet"]["path"] == "/ready"
        assert application["name"] == "service"
        hook = envoy["lifecycle"]["preStop"]["exec"]["command"][2]
        # What comes in is drained; what the application calls meanwhile still goes out.
        assert "POST /drain_listeners?inboundonly&graceful&skip_exit " in hook
        directions = {
            one["name"]: one.get("traffic_direction")
            for one in configuration(beside, part)["static_resources"]["listeners"]
        }
        assert directions == {"inbound": "INBOUND", "monitor": None} | dict.fromkeys(
            called_by(part), "OUTBOUND"
        )
        # Callers have gone before the application refuses them.
        drain_s = int(envoy["args"][envoy["args"].index("--drain-time-s") + 1])
        assert drain_s <= float(plain_settings(beside, part)["SATREEL_DRAIN_S"])


def test_it_listens_for_the_part_and_the_part_listens_on_loopback(beside: Manifests) -> None:
    for part in SERVICES:
        application, envoy = parts_of(beside, part)
        settings = plain_settings(beside, part)
        own, *others = [(port["name"], port["containerPort"]) for port in application["ports"]]
        here = listens(configuration(beside, part))
        assert here.pop("inbound") == f"0.0.0.0:{own[1]}"
        assert here.pop("monitor") == f"0.0.0.0:{MONITOR_PORT}"
        assert [port["containerPort"] for port in envoy["ports"]] == [MONITOR_PORT]
        # The rest are peers, where the application calls them.
        peers = json.loads(settings["SATREEL_PEERS"])
        assert here == {peer: peers[peer] for peer in called_by(part)}
        assert all(place.startswith("127.0.0.1:") for place in peers.values())
        main = f"SATREEL_{part.upper()}_{'HTTP_' if part == GATEWAY else ''}LISTEN"
        (behind,) = [
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"][
                "socket_address"
            ]
            for cluster in configuration(beside, part)["static_resources"]["clusters"]
            if cluster["name"] == "application"
        ]
        assert settings[main] == f"{behind['address']}:{behind['port_value']}"
        assert behind["address"] == "127.0.0.1"
        assert behind["port_value"] not in {int(place.rpartition(":")[2]) for place in here.values()}
        # Doors for AITubo and ARC are the application's own.
        listening = {value for name, value in settings.items() if name.endswith("LISTEN") and name != main}
        assert listening == {f"0.0.0.0:{number}" for _, number in others}


def test_the_identity_is_the_sidecars_alone(beside: Manifests) -> None:
    for part in SERVICES:
        application, envoy = parts_of(beside, part)
        assert "tls" not in {mount["name"] for mount in application["volumeMounts"]}
        mounts = {mount["name"]: mount for mount in envoy["volumeMounts"]}
        assert set(mounts) == {"tls", "envoy"}
        assert all(mount["readOnly"] for mount in mounts.values())
        settings = plain_settings(beside, part)
        assert (settings["SATREEL_BEHIND_SIDECAR"], settings["SATREEL_TLS_DIR"]) == ("true", "")


def test_kubelet_asks_through_the_monitor(beside: Manifests) -> None:
    for part in SERVICES:
        application, _ = parts_of(beside, part)
        probes = {name: application[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
        if part == GATEWAY:
            asked = {"path": "/healthz", "port": MONITOR_PORT}
            assert all(probe["httpGet"] == asked for probe in probes.values())
            continue
        assert all("exec" not in probe for probe in probes.values())
        alive = {"port": MONITOR_PORT}
        assert probes["startup"]["grpc"] == probes["liveness"]["grpc"] == alive
        # A standby that waits for its turn is ready; who leads is told by gRPC health alone.
        serves = alive if part in LEADERS else {**alive, "service": PARTS[part].contract}
        assert probes["readiness"]["grpc"] == serves


def test_it_takes_no_more_before_it_is_killed_for_its_memory(beside: Manifests) -> None:
    for part in SERVICES:
        _, envoy = parts_of(beside, part)
        # A fifth beyond its heap, for code and stacks.
        assert heap_of(beside, part) * 1.2 <= memory_of(envoy)


def test_the_edge_has_memory_for_its_connections_and_is_not_killed_for_it(beside: Manifests) -> None:
    (envoy,) = pod(beside.named("Deployment", EDGE))["containers"]
    heap = heap_of(beside, EDGE)
    assert heap * 1.2 <= memory_of(envoy)
    # Idle WebSockets; at four fifths it begins to break requests off.
    assert PLACES.limits.connections * 70_000 <= heap * 0.8


def heap_of(manifests: Manifests, part: str) -> int:
    """What an Envoy keeps to, in bytes."""
    (found,) = [
        monitor["typed_config"]["max_heap_size_bytes"]
        for monitor in configuration(manifests, part)["overload_manager"]["resource_monitors"]
        if monitor["name"].endswith("fixed_heap")
    ]
    return int(found)


def memory_of(container: Manifest) -> int:
    """What a container may have, in bytes."""
    limit = container["resources"]["limits"]["memory"]
    return int(limit[:-2]) * UNITS[limit[-2:]]


def test_it_calls_by_the_names_and_ports_of_services(beside: Manifests) -> None:
    names = {
        f"{service['metadata']['name']}:{port['port']}"
        for service in beside.of("Service")
        for port in service["spec"]["ports"]
    }
    for part in (*SERVICES, "edge"):
        for cluster in configuration(beside, part)["static_resources"]["clusters"]:
            # The edge's place to wait is within it.
            if cluster["name"] in {"application", "admin", "otlp"} or "socket_address" not in str(cluster):
                continue
            (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            address = endpoint["endpoint"]["address"]["socket_address"]
            assert f"{address['address']}:{address['port_value']}" in names
            assert cluster["type"] == "STRICT_DNS"
            # Pictures have links that are signed, and a port without an identity.
            secured = cluster["name"] != "pictures"
            assert cluster.get("transport_socket", {}).get("name") == (
                "envoy.transport_sockets.tls" if secured else None
            )


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_edge_has_the_file_that_the_topology_makes_for_it(folder: str) -> None:
    wanted = files(replace(PLACES, gateway_has_sidecar=folder in WITH_SIDECARS))[BOOTSTRAP_FILE]
    assert configuration(render(folder), EDGE) == json.loads(wanted)


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder not in WITH_SIDECARS])
def test_elsewhere_there_are_none(folder: str) -> None:
    manifests = render(folder)
    for part in SERVICES:
        assert "initContainers" not in pod(manifests.named("Deployment", part))
        assert "SATREEL_BEHIND_SIDECAR" not in plain_settings(manifests, part)


def test_a_configuration_fits_into_its_config_map(beside: Manifests) -> None:
    for config_map in beside.of("ConfigMap"):
        assert len(json.dumps(config_map["data"])) < MIB, config_map["metadata"]["name"]
