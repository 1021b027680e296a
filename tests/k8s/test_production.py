"""What only production has: autoscaling, disruption budgets, stores, policies that pair."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.k8s.conftest import OVERLAYS, ROOT, Manifest, Manifests, render
from tests.k8s.test_manifests import LEADERS
from topology.calls import called_by
from topology.parts import PARTS, SERVICES

LEADING = ("prod", "prod-eu", "prod-us/lead", "istio", "linkerd")
# As Prometheus names what OpenTelemetry exports: dots become underscores, units and kinds follow.
SUFFIXES = r"(_seconds)?(_bucket|_count|_sum|_total)?"
# Envoy's own, https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats
ENVOYS = {"envoy_cluster_upstream_rq_active", "envoy_cluster_upstream_cx_active"}


@pytest.fixture(params=LEADING)
def production(request: pytest.FixtureRequest) -> Manifests:
    return render(f"overlays/{request.param}")


def scalers(manifests: Manifests) -> list[Manifest]:
    return [*manifests.of("HorizontalPodAutoscaler"), *manifests.of("ScaledObject")]


def minimum(scaler: Manifest) -> int:
    spec = scaler["spec"]
    return int(spec.get("minReplicas") or spec["minReplicaCount"])


def test_autoscalers_have_a_target_that_says_no_number_itself(production: Manifests) -> None:
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers(production)]
    assert len(targets) == len(set(targets))
    for name in targets:
        spec = production.named("Deployment", name)["spec"]
        assert "replicas" not in spec
        container = spec["template"]["spec"]["containers"][0]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])


def test_there_are_two_of_everything_and_a_disruption_leaves_one(production: Manifests) -> None:
    least = {scaler["spec"]["scaleTargetRef"]["name"]: minimum(scaler) for scaler in scalers(production)}
    for deployment in production.of("Deployment"):
        name = deployment["metadata"]["name"]
        replicas = least.get(name) or deployment["spec"]["replicas"]
        budget = production.named("PodDisruptionBudget", name)["spec"]
        assert replicas >= 2
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == deployment["spec"]["selector"]


def test_leader_and_standby_share_no_node(production: Manifests) -> None:
    for name in LEADERS:
        pod = production.named("Deployment", name)["spec"]["template"]["spec"]
        (term,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}


def test_keda_asks_for_metrics_that_somebody_exports(production: Manifests) -> None:
    sources = [*(ROOT / "mesh").rglob("*.py"), *(ROOT / "graphql_gateway").rglob("*.py")]
    named = set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', "".join(path.read_text() for path in sources)))
    exported = {name.replace(".", "_") for name in named}
    for scaler in production.of("ScaledObject"):
        queries = [
            one["metadata"]["query"] for one in scaler["spec"]["triggers"] if one["type"] == "prometheus"
        ]
        assert len(queries) == 4
        text = re.sub(r"\{[^}]*\}", "", " ".join(queries))
        for name in re.findall(r"\b(?:envoy|graphql|rpc|process)_[a-z_]+", text):
            assert name in ENVOYS or re.sub(f"{SUFFIXES}$", "", name) in exported, name


def test_thresholds_are_those_of_the_plan(production: Manifests) -> None:
    for scaler in production.of("HorizontalPodAutoscaler"):
        utilization = {
            one["resource"]["name"]: one["resource"]["target"]["averageUtilization"]
            for one in scaler["spec"]["metrics"]
        }
        assert utilization == {"cpu": 70, "memory": 80}
    triggers = production.named("ScaledObject", "gateway")["spec"]["triggers"]
    said = {
        one.get("name", one["type"]): one["metadata"].get("threshold") or one["metadata"]["value"]
        for one in triggers
    }
    assert said == {
        "cpu": "70", "memory": "80", "queue": "1000", "connections": "8000", "errors": "1", "response": "0.8",
    }  # fmt: skip


def test_what_stands_by_runs_nothing_and_ships_nothing() -> None:
    waiting = render("overlays/prod-us")
    assert {deployment["spec"]["replicas"] for deployment in waiting.of("Deployment")} == {0}
    assert not scalers(waiting)
    assert "xdr" not in waiting.named("AerospikeCluster", "aerospike")["spec"]["aerospikeConfig"]
    assert all(job["spec"]["suspend"] for job in waiting.of("CronJob"))
    for region in ("prod-eu", "prod-us/lead"):
        config = render(f"overlays/{region}").named("AerospikeCluster", "aerospike")["spec"][
            "aerospikeConfig"
        ]
        assert len(config["xdr"]["dcs"]) == 1


def pods(peer: dict[str, Any]) -> str:
    return str(peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/name", ""))


def ways(policies: list[Manifest], way: str, peers: str) -> set[tuple[str, str, int]]:
    """Who may reach whom on what port, between pods, as one end tells it: (caller, called, port)."""
    found = set()
    for policy in policies:
        own = policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name", "")
        for rule in policy["spec"].get(way, []):
            for other in filter(None, map(pods, rule[peers])):
                for port in rule["ports"]:
                    ends = (own, other) if way == "egress" else (other, own)
                    found.add((*ends, port["port"]))
    return found


def test_policies_pair_and_open_what_the_topology_says() -> None:
    policies = list(render("base").of("NetworkPolicy"))
    out, into = ways(policies, "egress", "to"), ways(policies, "ingress", "from")
    out = {way for way in out if way[0]}
    into = {way for way in into if way[0]}

    # The edge's part of media and callbacks: who comes by another door comes by address.
    assert out <= into
    assert set(into - out) <= {("edge", "content", 7112), ("edge", "chain", 7116)}
    for part in (part for part in PARTS.values() if part.name != "edge"):
        reached = {way[1] for way in out if way[0] == part.name} & set(SERVICES)
        assert reached == set(called_by(part.name))


def test_records_are_open_to_parts_jobs_operator_and_the_other_region_alone() -> None:
    (policy,) = [one for one in render("base").of("NetworkPolicy") if one["metadata"]["name"] == "aerospike"]
    assert "ipBlock" not in json.dumps(policy)
    opened = [
        render(f"overlays/{region}").named("NetworkPolicy", "other-region")["spec"]["egress"][0]["to"]
        for region in ("prod-eu", "prod-us/lead")
    ]
    assert opened[0] != opened[1]


def test_everything_else_is_closed() -> None:
    closed = render("base").named("NetworkPolicy", "closed")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_have_a_version_or_a_digest(overlay: str) -> None:
    found = re.findall(r'"image": "([^"]+)"', json.dumps(render(f"overlays/{overlay}").all))
    assert found
    for image in found:
        assert re.search(r"(@sha256:[0-9a-f]{64}|:(dev|v?\d+(\.\d+)+))$", image), image


def test_meshes_let_in_those_that_network_policies_let_in() -> None:
    paired = ways(list(render("base").of("NetworkPolicy")), "ingress", "from")
    for part in (PARTS[name] for name in (*SERVICES, "gateway")):
        expected = {way[0] for way in paired if way[1:] == (part.name, part.port.number)}
        istio = render("overlays/istio").named("AuthorizationPolicy", part.name)["spec"]["rules"][0]
        (source,) = istio["from"]
        assert {name.rpartition("/")[2] for name in source["source"]["principals"]} == expected
        linkerd = render("overlays/linkerd").named("MeshTLSAuthentication", f"{part.name}-callers")
        assert {one["name"] for one in linkerd["spec"]["identityRefs"]} == expected
