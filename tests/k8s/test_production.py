"""What only production has: autoscaling, disruption budgets, stores, policies that pair."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.k8s.conftest import OVERLAYS, Manifest, Manifests, render
from tests.k8s.test_manifests import LEADERS
from tests.observability.test_rules import asked, known
from topology.calls import called_by
from topology.parts import PARTS, SERVICES

LEADING = ("prod", "prod-eu", "prod-us/lead", "istio", "linkerd")


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
        (container,) = spec["template"]["spec"]["containers"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])


def test_autoscalers_look_at_the_program_and_not_at_what_stands_beside_it(production: Manifests) -> None:
    for scaler in production.of("HorizontalPodAutoscaler"):
        (container,) = production.named("Deployment", scaler["metadata"]["name"])["spec"]["template"]["spec"][
            "containers"
        ]
        for metric in scaler["spec"]["metrics"]:
            assert metric["containerResource"]["container"] == container["name"]
    for scaler in production.of("ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            if trigger["type"] in {"cpu", "memory"}:
                assert trigger["metadata"]["containerName"] == "service"


QUANTITIES = {"": 1.0, "m": 0.001, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str) -> float:
    """In cores, or in bytes."""
    (number, unit) = re.fullmatch(r"(\d+)(m|Mi|Gi)?", text).groups(default="")  # type: ignore[union-attr] # fails
    return int(number) * QUANTITIES[unit]


def test_a_pod_is_an_instance_of_the_plan(production: Manifests) -> None:
    for deployment in production.of("Deployment"):
        name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
        running = pod["containers"] + [
            one for one in pod.get("initContainers", []) if one.get("restartPolicy") == "Always"
        ]
        asks, may = ([one["resources"][bound] for one in running] for bound in ("requests", "limits"))
        assert sum(quantity(one["cpu"]) for one in asks) <= 4, name
        assert max(quantity(one["cpu"]) for one in may) <= 4
        assert sum(quantity(one["memory"]) for one in may) <= 8e9, name
        assert sum(quantity(one["ephemeral-storage"]) for one in may) <= 100e9
        for asked_for, allowed in zip(asks, may, strict=True):
            for what in ("cpu", "memory", "ephemeral-storage"):
                assert quantity(asked_for[what]) < quantity(allowed[what]), (name, what)


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


def queries(manifests: Manifests) -> dict[str, str]:
    """What KEDA asks Prometheus, by the trigger's name."""
    return {
        one["name"]: one["metadata"]["query"]
        for scaler in manifests.of("ScaledObject")
        for one in scaler["spec"]["triggers"]
        if one["type"] == "prometheus"
    }


def test_keda_asks_for_metrics_that_are_declared(production: Manifests) -> None:
    found = queries(production)
    assert set(found) == {"queue", "connections", "errors", "response"}
    for query in found.values():
        wanted = asked(query)
        assert wanted
        # Those of docs/METRICS.md, Envoy's among them, which tests/observability holds against an Envoy.
        assert wanted <= known()


def test_alerts_and_autoscalers_judge_by_the_same_metric(production: Manifests) -> None:
    for name in ("errors", "response"):
        assert all(
            one.startswith("graphql_operation_duration_seconds") for one in asked(queries(production)[name])
        )


def test_thresholds_are_those_of_the_plan(production: Manifests) -> None:
    for scaler in production.of("HorizontalPodAutoscaler"):
        utilization = {
            one["containerResource"]["name"]: one["containerResource"]["target"]["averageUtilization"]
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


def wanted_keys(manifest: Any) -> set[tuple[str, str]]:
    """Secrets and keys within them that a manifest needs; the key is "" where all of them are taken."""
    if isinstance(manifest, list):
        return set().union(*map(wanted_keys, manifest))
    if not isinstance(manifest, dict):
        return set()
    found = set().union(*map(wanted_keys, manifest.values()))
    if "secretKeyRef" in manifest:
        found.add((manifest["secretKeyRef"]["name"], manifest["secretKeyRef"]["key"]))
    if "secretRef" in manifest:
        found.add((manifest["secretRef"]["name"], ""))
    if isinstance(projected := manifest.get("secret"), dict) and "name" in projected:
        found |= {(projected["name"], item["key"]) for item in projected["items"]}
    if "secretName" in manifest:
        items = [item["key"] for item in manifest.get("items", [])]
        found |= {(manifest["secretName"], key) for key in items or [manifest.get("secretPasswordKey", "")]}
    return found


def test_every_secret_is_brought_with_the_keys_that_are_asked_for(production: Manifests) -> None:
    brought = {
        (one["spec"]["target"]["name"], key["secretKey"])
        for one in production.of("ExternalSecret")
        for key in one["spec"]["data"]
    }
    issued = {one["spec"]["secretName"] for one in production.of("Certificate")}
    brought |= {(name, key) for name in issued for key in ("tls.crt", "tls.key", "ca.crt")}
    brought |= {(name, "") for name, _ in brought}
    wanted = set().union(*map(wanted_keys, (one for one in production.all if one["kind"] != "Certificate")))
    assert ("aerospike-user", "password") in wanted
    assert wanted <= brought
    # And none that nobody asks for.
    assert {name for name, _ in brought} - issued <= {name for name, _ in wanted}


def test_what_is_worth_most_goes_first(production: Manifests) -> None:
    order = {one["metadata"]["name"]: one["value"] for one in production.of("PriorityClass")}
    given = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["priorityClassName"]
        for one in production.of("Deployment")
    }
    jobs = {
        one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["priorityClassName"]
        for one in production.of("CronJob")
    }
    assert {name for name, its in given.items() if its == "satreel-money"} == {"ledger", "chain"}
    assert set(given.values()) == {"satreel-money", "satreel-serving"}
    assert jobs == {"satreel-chores"}
    assert order["satreel-money"] > order["satreel-serving"] > order["satreel-chores"]


def test_instances_are_spread_over_zones_and_nodes(production: Manifests) -> None:
    for deployment in production.of("Deployment"):
        name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
        mine = {"app.kubernetes.io/name": name}
        (zones,) = pod["topologySpreadConstraints"]
        assert zones["topologyKey"] == "topology.kubernetes.io/zone"
        assert zones["labelSelector"]["matchLabels"] == mine
        (apart,) = pod["affinity"]["podAntiAffinity"].values()
        term = apart[0].get("podAffinityTerm", apart[0])
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"]["matchLabels"] == mine


def test_stores_survive_a_zone(production: Manifests) -> None:
    aerospike = production.named("AerospikeCluster", "aerospike")["spec"]
    (namespace,) = aerospike["aerospikeConfig"]["namespaces"]
    assert (aerospike["size"], len(aerospike["rackConfig"]["racks"])) == (3, 3)
    assert namespace["replication-factor"] == 2
    assert namespace["strong-consistency"]
    assert namespace["storage-engine"]["commit-to-device"]
    # The file of records fits its volume, of the plan's 100 GB.
    sizes = {
        v["name"]: v["source"].get("persistentVolume", {}).get("size")
        for v in aerospike["storage"]["volumes"]
    }
    assert namespace["storage-engine"]["filesize"] < int(sizes["records"].removesuffix("Gi")) * 1024**3
    valkey = production.named("Valkey", "valkey")["spec"]
    assert (valkey["replicas"], valkey["sentinel"]) == (3, {"enabled": True, "replicas": 3})


def test_a_copy_is_made_as_often_as_may_be_lost(production: Manifests) -> None:
    job = production.named("CronJob", "records-backup")["spec"]
    (minutes,) = re.findall(r"^\*/(\d+) \* \* \* \*$", job["schedule"])
    runs_s = job["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    # RPO 5 min: what was written just after a window ended is in the next one.
    assert int(minutes) * 60 + 30 + runs_s <= 300
    assert job["concurrencyPolicy"] == "Forbid"


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
