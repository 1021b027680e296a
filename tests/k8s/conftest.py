"""The manifests as a cluster would get them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("dev", "prod", "prod-eu", "prod-us", "prod-us/lead", "istio", "linkerd")
# Where an Envoy of ours stands beside every part; Istio and Linkerd bring their own.
WITH_SIDECARS = {f"overlays/{name}" for name in OVERLAYS if name not in {"istio", "linkerd"}}
FOLDERS = ("base", "sqlite", *(f"overlays/{name}" for name in OVERLAYS))

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """Everything that one folder renders to."""

    folder: str
    all: list[Manifest]

    def of(self, kind: str) -> Iterator[Manifest]:
        """All of one kind."""
        return (found for found in self.all if found["kind"] == kind)

    def named(self, kind: str, name: str) -> Manifest:
        """The one of this name."""
        found = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        assert len(found) == 1, f"{kind} {name} in {self.folder}: {len(found)}"
        return found[0]


@cache
def render(folder: str) -> Manifests:
    """What `kubectl kustomize` makes of a folder of k8s/; needs no cluster."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", ROOT / "k8s" / folder],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Manifests(folder, list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)))


@pytest.fixture(params=FOLDERS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return render(request.param)
