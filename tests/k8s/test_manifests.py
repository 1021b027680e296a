"""Manifests fit together, and fit the programs: what a schema cannot see."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.config import MeshSettings, variable_name
from mesh.interceptors.guards import SPIFFE_PREFIX
from mesh.records.aerospike import AerospikeSettings
from mesh.tls import host_name
from tests.k8s.conftest import ROOT, WITH_SIDECARS, Manifest, Manifests
from topology.parts import MONITOR_PORT, PARTS, Instances

SERVICES = ("identity", "content", "rounds", "ledger", "market", "chain", "insight", "gateway")
LEADERS = {part.name for part in PARTS.values() if part.instances is Instances.LEADER}
SECRET = re.compile(r"KEY|SECRET|PASSWORD|SEED|REDIS_URL|NODE_URL")
# Secrets and ConfigMaps that whoever applies the manifests makes: k8s/README.md says how.
MADE_BY_HAND = {
    "aitubo",
    "backup",
    "bsv-node",
    "chain-wallet",
    "gateway",
    "identity-token-key",
    "mesh-authorities",
    "redis",
    "user-token-public",
}


def settings_of(service: str) -> type[MeshSettings]:
    """The settings class of a service's program."""
    package = "graphql_gateway" if service == "gateway" else f"services.{service}"
    module = importlib.import_module(f"{package}.config")
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, MeshSettings) and found.service == service
    )


def pod(deployment: Manifest) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]  # type: ignore[no-any-return] # YAML


def containers(manifests: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    for deployment in manifests.of("Deployment"):
        for container in pod(deployment)["containers"] + pod(deployment).get("initContainers", []):
            yield deployment["metadata"]["name"], container


def plain_settings(manifests: Manifests, service: str) -> dict[str, str]:
    """What a service reads from ConfigMaps."""
    (container,) = pod(manifests.named("Deployment", service))["containers"]
    settings: dict[str, str] = {}
    for source in container["envFrom"]:
        if "secretRef" not in source:
            settings |= manifests.named("ConfigMap", source["configMapRef"]["name"])["data"]
    return settings


def test_every_service_has_its_parts(manifests: Manifests) -> None:
    for service in SERVICES:
        deployment = manifests.named("Deployment", service)
        assert pod(deployment)["serviceAccountName"] == service
        assert manifests.named("ServiceAccount", service)["automountServiceAccountToken"] is False
        (container,) = pod(deployment)["containers"]
        assert container["image"].split(":")[0] == f"satreel-{service}"


def test_everything_is_in_the_namespace_and_nothing_is_left_of_the_shape(manifests: Manifests) -> None:
    for manifest in manifests.all:
        if manifest["kind"] not in {"Namespace", "PriorityClass"}:
            assert manifest["metadata"]["namespace"] == "satreel"
    assert not re.search("shape", json.dumps(manifests.all), re.IGNORECASE)


def test_selectors_match_exactly_their_pods(manifests: Manifests) -> None:
    labels = {
        deployment["metadata"]["name"]: deployment["spec"]["template"]["metadata"]["labels"]
        for deployment in manifests.of("Deployment")
    }

    def matching(selector: dict[str, str]) -> list[str]:
        return [name for name, found in labels.items() if selector.items() <= found.items()]

    for deployment in manifests.of("Deployment"):
        assert matching(deployment["spec"]["selector"]["matchLabels"]) == [deployment["metadata"]["name"]]
    for service in manifests.of("Service"):
        assert len(matching(service["spec"]["selector"])) == 1, service["metadata"]["name"]


def test_services_and_probes_name_ports_that_exist(manifests: Manifests) -> None:
    for service in manifests.of("Service"):
        target = service["spec"]["selector"]["app.kubernetes.io/name"]
        (container,) = pod(manifests.named("Deployment", target))["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            # The door has the port that the world expects.
            assert port["targetPort"] in ports
            assert port["port"] == (443 if target == "edge" else ports[port["targetPort"]])
    for name, container in containers(manifests):
        named = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container.get(probe, {})
            port = asked.get("httpGet", asked.get("grpc", {})).get("port")
            beside = manifests.folder in WITH_SIDECARS and container["name"] == "service"
            assert port is None or port in named or (beside and port == MONITOR_PORT), name


def test_services_listen_where_the_manifests_say(manifests: Manifests) -> None:
    peers = json.loads(plain_settings(manifests, "gateway")["SATREEL_PEERS"])
    assert set(peers) == set(SERVICES) - {"gateway"}
    for service in SERVICES:
        (container,) = pod(manifests.named("Deployment", service))["containers"]
        if manifests.folder in WITH_SIDECARS:
            continue  # tests/k8s/test_sidecars.py
        listens = {
            value for name, value in plain_settings(manifests, service).items() if name.endswith("LISTEN")
        }
        assert listens == {f"0.0.0.0:{port['containerPort']}" for port in container["ports"]}
        if service != "gateway":
            main_port = container["ports"][0]["containerPort"]
            assert peers[service] == f"{service}:{main_port}"
            assert plain_settings(manifests, service)[f"SATREEL_{service.upper()}_LISTEN"].endswith(
                f":{main_port}"
            )


def test_probes_ask_the_service_itself(manifests: Manifests) -> None:
    for service in set(SERVICES) - {"gateway"}:
        (container,) = pod(manifests.named("Deployment", service))["containers"]
        if manifests.folder in WITH_SIDECARS:
            continue  # tests/k8s/test_sidecars.py
        alive = ["python", "-m", "mesh.probe", service]
        assert container["livenessProbe"]["exec"]["command"] == alive
        # A standby that waits for its turn is ready; who leads is told by gRPC health alone.
        serves = alive if service in LEADERS else [*alive, "--serving"]
        assert container["readinessProbe"]["exec"]["command"] == serves


def test_callers_see_every_instance_of_a_service(manifests: Manifests) -> None:
    for service in SERVICES:
        spec = manifests.named("Service", service)["spec"]
        # One address for all would hide who has most to do, and a gateway that leaves would speak for all.
        assert spec["clusterIP"] == "None"
        # A standby is found by what it reports, whether kubelet thinks it ready or not.
        assert spec.get("publishNotReadyAddresses", False) is (service != "gateway")


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_real_and_accepted(
    manifests: Manifests, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = settings_of(service)
    known = {variable_name(settings, name) for name in settings.model_fields}
    given = plain_settings(manifests, service)
    (container,) = pod(manifests.named("Deployment", service))["containers"]
    by_secret = {variable["name"] for variable in container["env"]}

    known |= {f"SATREEL_AEROSPIKE_{name}".upper() for name in AerospikeSettings.model_fields}
    assert set(given) | by_secret <= known
    assert all(
        "valueFrom" in variable or variable["value"].startswith("/run/") for variable in container["env"]
    )
    for name, value in given.items():
        # What is in the image is not here.
        monkeypatch.setenv(name, str(tmp_path) if value.startswith("/app/") else value)
    read = settings()
    assert (read.tls_dir is None) == read.behind_sidecar == (manifests.folder in WITH_SIDECARS)
    for path in filter(None, (read.tls_dir, read.user_token_key, read.data_dir)):
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert any(str(path).startswith(mount) for mount in mounts), path


def test_no_secret_stands_in_a_manifest(manifests: Manifests) -> None:
    assert not list(manifests.of("Secret"))
    for config_map in manifests.of("ConfigMap"):
        for name, value in config_map["data"].items():
            assert value.startswith("/run/satreel/") or not SECRET.search(name), name


def test_what_is_referred_to_exists(manifests: Manifests) -> None:
    known = {manifest["metadata"]["name"] for manifest in manifests.of("ConfigMap")} | MADE_BY_HAND
    known |= {certificate["spec"]["secretName"] for certificate in manifests.of("Certificate")}
    known |= {secret["metadata"]["name"] for secret in manifests.of("ExternalSecret")}
    claims = {claim["metadata"]["name"] for claim in manifests.of("PersistentVolumeClaim")}
    readme = (ROOT / "k8s" / "README.md").read_text()
    for deployment in manifests.of("Deployment"):
        referred = set(referred_by(pod(deployment)))
        assert referred <= known | claims
        for name in referred & MADE_BY_HAND:
            assert f" {name} " in readme, f"k8s/README.md does not say how to make {name}"


def referred_by(manifest: Any) -> Iterator[str]:
    """Names of ConfigMaps, Secrets and claims."""
    if isinstance(manifest, list):
        for one in manifest:
            yield from referred_by(one)
    elif isinstance(manifest, dict):
        for key, value in manifest.items():
            if key in {"secretName", "claimName"}:
                yield value
            elif key in {"secretKeyRef", "configMapRef", "configMap", "secret"} and "name" in value:
                yield value["name"]
            else:
                yield from referred_by(value)


def test_certificates_are_what_the_mesh_expects(manifests: Manifests) -> None:
    for service in SERVICES:
        spec = manifests.named("Certificate", service)["spec"]
        assert spec["uris"] == [f"{SPIFFE_PREFIX}{service}"]
        assert spec["dnsNames"] == [host_name(service)]
        volume = next(
            one for one in pod(manifests.named("Deployment", service))["volumes"] if one["name"] == "tls"
        )
        own, believed = volume["projected"]["sources"]
        assert own["secret"]["name"] == spec["secretName"]
        assert {item["path"] for item in own["secret"]["items"]} == {f"{service}.pem", f"{service}.key"}
        assert believed["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.pem"}]


def test_containers_may_do_little_and_use_little(manifests: Manifests) -> None:
    for deployment in manifests.of("Deployment"):
        security = pod(deployment)["securityContext"]
        assert security["runAsNonRoot"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod(deployment)["automountServiceAccountToken"] is False
    for name, container in containers(manifests):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"], name
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        for bound in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][bound]), name


def test_stopping_takes_no_longer_than_it_may(manifests: Manifests) -> None:
    for service in SERVICES:
        drain_s = float(plain_settings(manifests, service)["SATREEL_DRAIN_S"])
        grace_s = settings_of(service).model_fields["stop_grace_s"].default
        may_take_s = pod(manifests.named("Deployment", service))["terminationGracePeriodSeconds"]
        assert 2 * drain_s + grace_s < may_take_s


def test_records_have_one_writer_and_outlive_the_pod(manifests: Manifests) -> None:
    for service in set(SERVICES) - {"gateway"}:
        deployment = manifests.named("Deployment", service)
        if "SATREEL_AEROSPIKE_HOSTS" in plain_settings(manifests, service) or manifests.folder == "base":
            assert deployment["spec"].get("strategy", {}).get("type") != "Recreate"
            continue
        data = next(one for one in pod(deployment)["volumes"] if one["name"] == "data")
        assert data["persistentVolumeClaim"]["claimName"] == f"{service}-records"
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"]["type"] == "Recreate"


def test_the_base_leaves_images_to_the_overlay_and_the_overlay_names_each(manifests: Manifests) -> None:
    for name, container in containers(manifests):
        pinned = ":" in container["image"] or "@sha256:" in container["image"]
        assert pinned == (manifests.folder not in {"base", "sqlite"}), name
        assert not container["image"].endswith(":latest")
