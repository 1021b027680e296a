"""`python -m topology --write` makes what is generated from the topology; `--check` tells what drifted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from topology import cluster, meshes, openapi, picture, policies

ROOT = Path(__file__).resolve().parents[1]
# Every generated file, by its path in the repository.
GENERATED: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "docs/TOPOLOGY.md": picture.page,
        "k8s/mesh/network-policies.yaml": policies.network_policies,
        "topology/edge/openapi.json": openapi.document,
        "k8s/overlays/istio/authorization.yaml": meshes.istio,
        "k8s/overlays/linkerd/authorization.yaml": meshes.linkerd,
        **cluster.envoys(),
    }
)


def drifted(root: Path = ROOT) -> list[str]:
    """Generated files that are not what the topology makes of them now."""
    return [
        path
        for path, make in GENERATED.items()
        if not (root / path).is_file() or (root / path).read_text() != make()
    ]


def write(root: Path = ROOT) -> list[str]:
    """Writes those that have drifted; gives them."""
    changed = drifted(root)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(GENERATED[path]())
    return changed


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 when something has drifted."""
    parser = argparse.ArgumentParser(prog="python -m topology", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="make the generated files")
    what.add_argument("--check", action="store_true", help="tell which are not up to date; exit 1 then")
    if parser.parse_args(arguments).write:
        print("\n".join(f"written: {path}" for path in write()) or "everything was up to date")
        return 0
    for path in (changed := drifted()):
        print(f"{path} has drifted; run `python -m topology --write`", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
