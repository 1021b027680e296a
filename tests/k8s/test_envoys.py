"""Envoys of a cluster: they take what is mounted for them, and leave as it is written."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import aiohttp
import pytest

from mesh import tls
from sandbox.envoy import envoy_binary
from tests.edge.lone import alone
from tests.k8s.conftest import Manifest, Manifests, render
from topology.comments import DESCRIPTORS
from topology.edge import OPENAPI
from topology.parts import MONITOR_PORT, PARTS

OVERLAYS = ("dev", "prod", "istio", "linkerd")


def envoy_of(manifests: Manifests, part: str) -> Manifest:
    pod = manifests.named("Deployment", part)["spec"]["template"]["spec"]
    (found,) = [one for one in pod["containers"] + pod.get("initContainers", []) if one["name"] == "envoy"]
    return dict(found)


def mounted(manifests: Manifests, part: str, folder: Path) -> dict[str, str]:
    """Makes what is mounted for the part's Envoy, within `folder`; gives where each of its folders is now."""
    authority = tls.Authority.open(folder / "run" / "satreel" / "tls")
    authority.issue(part)
    pod = manifests.named("Deployment", part)["spec"]["template"]["spec"]
    maps = {one["name"]: one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    moved = {}
    for mount in envoy_of(manifests, part)["volumeMounts"]:
        here = folder / mount["mountPath"].lstrip("/")
        here.mkdir(parents=True, exist_ok=True)
        moved[mount["mountPath"]] = str(here)
        if mount["name"] in maps:
            for name, text in manifests.named("ConfigMap", maps[mount["name"]])["data"].items():
                (here / name).write_text(text)
    if "/contracts" in moved:
        (folder / "contracts" / "descriptors.binpb").write_bytes(DESCRIPTORS.read_bytes())
        (folder / "contracts" / "openapi.json").write_bytes(OPENAPI.read_bytes())
        site = folder / "run" / "satreel" / "site"
        (site / "tls.crt").write_bytes((folder / f"run/satreel/tls/{part}.pem").read_bytes())
        (site / "tls.key").write_bytes((folder / f"run/satreel/tls/{part}.key").read_bytes())
    return moved


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_envoy_takes_what_is_mounted_for_the_edge(overlay: str, tmp_path: Path) -> None:
    moved = mounted(render(f"overlays/{overlay}"), "edge", tmp_path)
    for file in Path(moved["/etc/envoy"]).iterdir():
        places = "|".join(moved)
        file.write_text(re.sub(f'(?<=")({places})(?=/)', lambda found: moved[found[1]], file.read_text()))

    command = [
        str(envoy_binary()),
        "--mode",
        "validate",
        "--config-path",
        f"{moved['/etc/envoy']}/envoy.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stderr[-2000:]


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
        here = script.replace("127.0.0.1/9901", places.admin.replace(":", "/")).replace("sleep 28", "sleep 0")
        assert here.count(places.admin.rpartition(":")[2]) == 1
        hook = await asyncio.create_subprocess_exec(*program, here)
        assert await hook.wait() == 0
        # Nobody is turned away, for load balancers notice late; by and by everybody is asked to go.
        for _ in range(100):
            async with client.get(f"http://{places.http}/nothing") as response:
                assert response.status == 404
                if response.headers.get("connection") == "close":
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("connections stay")
