"""Envoys of a cluster: they take what is mounted for them, and leave as it is written."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mesh.authority import Authority, Stage
from sandbox.envoy import Envoy, envoy_binary
from sandbox.parts import Parts
from sandbox.process import LOOPBACK, free_port
from tests.edge import followed
from tests.edge.lone import alone
from tests.k8s.conftest import Manifest, Manifests, render
from topology.cluster import ADMIN, APPLICATION, MONITOR, PLACES
from topology.comments import DESCRIPTORS
from topology.edge import ADDRESSES_FILE, OPENAPI, resource
from topology.parts import MONITOR_PORT, PARTS

INBOUND = "0.0.0.0:7105"
OVERLAYS = ("dev", "prod", "istio", "linkerd")


def envoy_of(manifests: Manifests, part: str) -> Manifest:
    pod = manifests.named("Deployment", part)["spec"]["template"]["spec"]
    (found,) = [one for one in pod["containers"] + pod.get("initContainers", []) if one["name"] == "envoy"]
    return dict(found)


def mounted(manifests: Manifests, part: str, folder: Path) -> Path:
    """Makes what is mounted for the part's Envoy within `folder`; gives the file that it starts with."""
    pod = manifests.named("Deployment", part)["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    places = {mount["mountPath"]: mount["name"] for mount in envoy_of(manifests, part)["volumeMounts"]}
    for place in places:
        (folder / place.lstrip("/")).mkdir(parents=True)
    swapped(folder / "run/satreel/tls", part, folder / "authority")
    if part == "edge":
        (folder / "contracts/descriptors.binpb").write_bytes(DESCRIPTORS.read_bytes())
        (folder / "contracts/openapi.json").write_bytes(OPENAPI.read_bytes())
        (folder / "contracts/page").mkdir()
        for name in ("index.html", "page.js", "swagger-ui.css", "swagger-ui-bundle.js"):
            (folder / "contracts/page" / name).write_text("as the image has it")
        for own, site in (("edge.pem", "tls.crt"), ("edge.key", "tls.key")):
            content = (folder / "run/satreel/tls" / own).read_bytes()
            (folder / "run/satreel/site" / site).write_bytes(content)
    here = "|".join(map(re.escape, places))
    data = manifests.named("ConfigMap", volumes["envoy"]["configMap"]["name"])["data"]
    if part == "edge":
        lists = manifests.named("ConfigMap", volumes["addresses"]["configMap"]["name"])["data"]
        brought(folder / "etc/addresses", {name: text.encode() for name, text in lists.items()})
    for name, text in data.items():
        moved = re.sub(f'(?<=")({here})(?=[/"])', lambda found: f"{folder}{found[1]}", text)
        (folder / "etc/envoy" / name).write_text(moved)
    return folder / "etc/envoy/envoy.json"


def swapped(mount: Path, part: str, authority: Path) -> None:
    """A new certificate, as kubelet brings it."""
    (authority / f"{part}.pem").unlink(missing_ok=True)
    Authority.open(authority).issue(part)
    names = ("ca.pem", f"{part}.pem", f"{part}.key")
    brought(mount, {name: (authority / name).read_bytes() for name in names})


def brought(mount: Path, files: Mapping[str, bytes]) -> None:
    """Files that kubelet brings are links into `..data`, a link that is replaced."""
    fresh = mount / f"..{len(list(mount.iterdir()))}"
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(Path("..data") / name)
    (mount / "..data_tmp").symlink_to(fresh.name)
    (mount / "..data_tmp").replace(mount / "..data")


def taken(program: Path) -> subprocess.CompletedProcess[str]:
    command = [str(envoy_binary()), "--mode", "validate", "--config-path", str(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("overlay", ["prod", "istio"], ids=["sidecars", "none"])
def test_envoy_takes_what_is_mounted_for_the_edge(overlay: str, tmp_path: Path) -> None:
    done = taken(mounted(render(f"overlays/{overlay}"), "edge", tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("part", sorted(set(PARTS) - {"edge"}))
def test_envoy_takes_what_is_mounted_for_a_sidecar(part: str, tmp_path: Path) -> None:
    done = taken(mounted(render("overlays/prod"), part, tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_address_lists_keep_their_name_so_that_edges_do_not_start_anew(overlay: str) -> None:
    manifests = render(f"overlays/{overlay}")
    lists = manifests.named("ConfigMap", "edge-addresses")["data"]
    assert list(lists) == [ADDRESSES_FILE]
    assert ADDRESSES_FILE not in manifests.named("ConfigMap", volume_of_edge(manifests, "envoy"))["data"]
    mounts = {mount["name"]: mount["mountPath"] for mount in envoy_of(manifests, "edge")["volumeMounts"]}
    assert volume_of_edge(manifests, "addresses") == "edge-addresses"
    assert mounts["addresses"] == str(PLACES.addresses)


def volume_of_edge(manifests: Manifests, name: str) -> str:
    pod = manifests.named("Deployment", "edge")["spec"]["template"]["spec"]
    (found,) = [one["configMap"]["name"] for one in pod["volumes"] if one["name"] == name]
    return str(found)


async def test_address_lists_that_kubelet_brings_hold_at_once(tmp_path: Path) -> None:
    mount = tmp_path / "addresses"
    mount.mkdir()
    brought(mount, {ADDRESSES_FILE: resource().encode()})
    async with alone(tmp_path, addresses=mount) as places, aiohttp.ClientSession() as client:

        async def until(status: int) -> None:
            for _ in range(600):
                async with client.get(f"http://{places.http}/nothing") as answer:
                    if answer.status == status:
                        return
                await asyncio.sleep(0.05)
            raise AssertionError(f"{answer.status} where {status} should be")

        await until(404)
        brought(mount, {ADDRESSES_FILE: resource(deny=["127.0.0.1"]).encode()})
        await until(403)
        brought(mount, {ADDRESSES_FILE: resource().encode()})
        await until(404)


def test_envoy_refuses_what_is_wrong(tmp_path: Path) -> None:
    program = mounted(render("overlays/prod"), "identity", tmp_path)
    program.write_text(program.read_text().replace("TLSv1_3", "TLSv1_9"))
    assert taken(program).returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_edge_is_asked_and_counted_at_its_monitor(overlay: str) -> None:
    manifests = render(f"overlays/{overlay}")
    envoy = envoy_of(manifests, "edge")
    ports = {port["name"]: port["containerPort"] for port in envoy["ports"]}
    assert ports == {port.name: port.number for port in PARTS["edge"].ports}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert envoy[probe]["httpGet"] == {"path": "/ready", "port": "monitor"}
    annotations = manifests.named("Deployment", "edge")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(MONITOR_PORT)
    assert annotations["prometheus.io/path"] == "/stats/prometheus"
    # The world has the one door.
    (port,) = manifests.named("Service", "edge")["spec"]["ports"]
    assert port["targetPort"] == "https"


def test_leaving_takes_no_longer_than_it_may() -> None:
    manifests = render("overlays/prod")
    envoy = envoy_of(manifests, "edge")
    drain_s = int(envoy["args"][envoy["args"].index("--drain-time-s") + 1])
    (waits_s,) = re.findall(r"sleep (\d+)", envoy["lifecycle"]["preStop"]["exec"]["command"][2])
    may_take_s = manifests.named("Deployment", "edge")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    assert drain_s < int(waits_s) < may_take_s


async def test_the_hook_before_its_end_closes_the_door_gently(tmp_path: Path) -> None:
    *program, script = envoy_of(render("overlays/prod"), "edge")["lifecycle"]["preStop"]["exec"]["command"]
    assert program == ["bash", "-euc"]
    async with alone(tmp_path) as places, aiohttp.ClientSession() as client:
        # What KEDA asks is counted, by these names: requests without sockets, connections with them.
        async with client.get(f"http://{places.monitor}/stats/prometheus") as response:
            numbers = await response.text()
        gateways = {
            name: set(re.findall(rf'^{name}{{envoy_cluster_name="(gateway[^"]*)"}}', numbers, re.MULTILINE))
            for name in ("envoy_cluster_upstream_rq_active", "envoy_cluster_upstream_cx_active")
        }
        queries = json.dumps(render("overlays/prod").named("ScaledObject", "gateway"))
        for name, clusters in gateways.items():
            assert clusters == {"gateway", "gateway_sockets"}
            (asked,) = re.findall(rf'{name}{{envoy_cluster_name=~?\\"([^"]*)\\"', queries)
            assert set(asked.split("|")) == clusters - ({"gateway_sockets"} if "rq" in name else set())

        here = script.replace("127.0.0.1/9901", places.admin.replace(":", "/")).replace("sleep 28", "sleep 0")
        assert here.count(places.admin.rpartition(":")[2]) == 1
        hook = await asyncio.create_subprocess_exec(*program, here)
        assert await hook.wait() == 0
        # Nobody is turned away, for load balancers notice late; by and by everybody is asked to go.
        for _ in range(600):
            async with client.get(f"http://{places.http}/nothing") as response:
                assert response.status == 404
                if response.headers.get("connection") == "close":
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("connections stay")


@asynccontextmanager
async def beside(part: str, folder: Path) -> AsyncIterator[dict[str, str]]:
    """The sidecar of a part as it is mounted, on free ports; gives where those of the manifest are now."""
    program = mounted(render("overlays/prod"), part, folder)
    configuration = json.loads(program.read_text())
    here: dict[str, str] = {}

    def moved(found: Any) -> None:
        if isinstance(found, list):
            for one in found:
                moved(one)
        elif isinstance(found, dict):
            address = found.get("socket_address", {})
            if address.get("address") in {LOOPBACK, "0.0.0.0"}:
                place = f"{address['address']}:{address['port_value']}"
                new = here.setdefault(place, f"{LOOPBACK}:{free_port()}")
                address |= {"address": LOOPBACK, "port_value": int(new.rpartition(":")[2])}
            for one in found.values():
                moved(one)

    moved(configuration)
    program.write_text(json.dumps(configuration))
    parts = Parts(folder / "logs", print)
    envoy = Mounted(f"{part}-sidecar", bootstrap=program, admin=here[ADMIN])
    try:
        await envoy.start(parts)
        yield here
    finally:
        await parts.stop([envoy.name])


class Mounted(Envoy):
    """One whose files are there."""

    def write(self) -> None:
        pass


async def test_a_sidecar_starts_alone_tells_how_its_part_is_and_takes_new_certificates(
    tmp_path: Path,
) -> None:
    # None of its peers has a name here: it starts all the same.
    async with beside("market", tmp_path) as here, grpc.aio.insecure_channel(here[MONITOR]) as kubelet:
        ask = health_pb2_grpc.HealthStub(kubelet).Check  # type: ignore[attr-defined] # its stubs lack it

        with pytest.raises(grpc.aio.AioRpcError) as nobody:
            await ask(health_pb2.HealthCheckRequest(), timeout=30)
        assert nobody.value.code() == grpc.StatusCode.UNAVAILABLE

        market, healths = grpc.aio.server(), health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(healths, market)
        market.add_insecure_port(here[APPLICATION])
        await market.start()
        contract = str(PARTS["market"].contract)
        for status in (health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING):
            await healths.set(contract, status)
            answer = await ask(health_pb2.HealthCheckRequest(service=contract), timeout=30)
            assert answer.status == status
        # And nothing else of the application.
        other: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = kubelet.unary_unary(f"/{contract}/GetSale")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await other(b"", timeout=30)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED

        hook = envoy_of(render("overlays/prod"), "market")["lifecycle"]["preStop"]["exec"]["command"]
        before = await shown(here[INBOUND], tmp_path)
        swapped(tmp_path / "run/satreel/tls", "market", tmp_path / "authority")
        for _ in range(600):
            if await shown(here[INBOUND], tmp_path) != before:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("the old certificate is still shown")

        # As it leaves, callers are asked to go; kubelet and what the application calls find it as before.
        script = hook[2].replace("127.0.0.1/9901", here[ADMIN].replace(":", "/"))
        leaving = await asyncio.create_subprocess_exec(*hook[:2], script)
        assert await leaving.wait() == 0
        answer = await ask(health_pb2.HealthCheckRequest(service=contract), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await market.stop(None)
        # It fails, and kubelet tells of it, where it does nothing.
        wrong = await asyncio.create_subprocess_exec(*hook[:2], script.replace("/drain_listeners", "/drain"))
        assert await wrong.wait() == 1


async def test_a_sidecar_follows_the_authority_that_kubelet_brings(tmp_path: Path) -> None:
    authority, before = tmp_path / "authority", tmp_path / "before"
    async with beside("market", tmp_path) as here:
        Authority(authority).issue("edge")
        shutil.copytree(authority, before)
        for stage in (Stage.NEXT_TRUSTED, Stage.NEXT_ISSUES, Stage.ALONE):
            assert not await followed.is_refused(here[INBOUND], as_edge(tmp_path, before), "market.satreel")
            assert Authority(authority).step() is stage
            swapped(tmp_path / "run/satreel/tls", "market", authority)
            async with asyncio.timeout(20):
                while await shown(here[INBOUND], tmp_path) != der(authority / "market.pem"):
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            while not await followed.is_refused(here[INBOUND], as_edge(tmp_path, before), "market.satreel"):
                await asyncio.sleep(0.05)
        Authority(authority).issue("edge")
        assert not await followed.is_refused(here[INBOUND], as_edge(tmp_path, authority), "market.satreel")


def der(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def as_edge(folder: Path, shows: Path) -> ssl.SSLContext:
    """Who believes as all do now, and shows the edge's certificate of that folder."""
    context = ssl.create_default_context(cafile=str(folder / "authority/ca.pem"))
    context.load_cert_chain(shows / "edge.pem", shows / "edge.key")
    return context


async def shown(place: str, folder: Path) -> bytes:
    """The certificate that is shown to a part of the mesh."""
    Authority(folder / "authority").issue("edge")
    trusting = as_edge(folder, folder / "authority")
    host, _, port = place.partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=trusting, server_hostname="market.satreel")
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found
