"""The check by strict schemas refuses what is wrong; its packages are those that `make k8s-lint` installs."""

from __future__ import annotations

import copy
import json
import subprocess
from functools import cache
from typing import Any

import pytest

from tests.k8s.conftest import ROOT, Manifest, render

PYTHON = ROOT / ".satreel" / "k8s" / "check" / "bin" / "python"
CHECKED = """
import json, sys, yaml
sys.path.insert(0, "tools")
from k8s_schemas import problems
own = yaml.safe_load(open("k8s/schemas.yaml"))
print(json.dumps([list(problems(one, own, None)) for one in json.load(sys.stdin)]))
"""

Path = tuple[str | int, ...]
# What is put into a manifest of production, and where: each is one mistake that people make.
WRONG: dict[str, tuple[str, str, Path, Any]] = {
    "unknown field": ("Deployment", "ledger", ("spec", "replica"), 2),
    "unknown field deep inside": (
        "Deployment",
        "ledger",
        ("spec", "template", "spec", "containers", 0, "livenesProbe"),
        {},
    ),
    "wrong type": ("Deployment", "ledger", ("spec", "replicas"), "two"),
    "a number for a string": ("ConfigMap", "user-of-nothing", ("data",), {"SATREEL_DRAIN_S": 5}),
    "wrong kind": ("Deployment", "ledger", ("kind",), "Deploymint"),
    "a kind of another group": ("PodDisruptionBudget", "ledger", ("apiVersion",), "apps/v1"),
    "value of no list": ("Service", "ledger", ("spec", "ports", 0, "protocol"), 7),
    "operator: unknown field": ("Certificate", "ledger", ("spec", "renewbefore"), "720h"),
    "operator: wrong type": ("ScaledObject", "gateway", ("spec", "minReplicaCount"), "2"),
    "operator: unknown trigger": ("ScaledObject", "gateway", ("spec", "triggers", 0, "type"), "cpus"),
    "operator: one level down": (
        "AerospikeCluster",
        "aerospike",
        ("spec", "podSpec", "multiPodPerHosts"),
        True,
    ),
    "operator: no such version": ("ExternalSecret", "redis", ("apiVersion",), "external-secrets.io/v9"),
    "operator: no pattern of it": ("ExternalSecret", "redis", ("spec", "refreshInterval"), "hourly"),
    "operator: left out": ("Valkey", "valkey", ("spec",), {"replicas": 3}),
}


def of_production(kind: str, name: str) -> Manifest:
    if kind == "ConfigMap":
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {}}
    return copy.deepcopy(render("overlays/prod").named(kind, name))


def changed(kind: str, name: str, path: Path, value: Any) -> Manifest:
    manifest: Any = of_production(kind, name)
    inner = manifest
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return manifest  # type: ignore[no-any-return] # YAML


@cache
def found() -> dict[str, tuple[list[str], list[str]]]:
    """By mistake: what is said of the manifest as it is, and with the mistake in it."""
    manifests = []
    for kind, name, path, value in WRONG.values():
        manifests += [of_production(kind, name), changed(kind, name, path, value)]
    done = subprocess.run(
        [PYTHON, "-c", CHECKED],
        input=json.dumps(manifests), cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return {name: (said[2 * at], said[2 * at + 1]) for at, name in enumerate(WRONG)}


@pytest.mark.skipif(not PYTHON.exists(), reason="`make k8s-lint` has not installed the checker")
@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_found(mistake: str) -> None:
    as_it_is, with_it = found()[mistake]
    assert as_it_is == []
    assert with_it
