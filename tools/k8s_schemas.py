"""Every overlay of k8s/ against the schemas of Kubernetes and of the operators, strictly; needs no cluster.

`make k8s-lint` runs it with the packages of k8s/requirements-check.txt. `kubernetes-validate` holds what is
rendered against Kubernetes' own schemas; k8s/schemas.yaml says what of the operators' resources is used.
With CRD_CATALOGUE=FOLDER their own schemas, `<group>/<kind>_<version>.json`, are asked too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = "1.34"


def rendered(kubectl: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that any overlay makes, with the overlay's name."""
    for path in sorted((ROOT / "k8s" / "overlays").rglob("kustomization.yaml")):
        done = subprocess.run(
            [kubectl, "kustomize", path.parent], capture_output=True, text=True, timeout=60, check=True
        )
        overlay = str(path.parent.relative_to(ROOT / "k8s" / "overlays"))
        yield from ((overlay, one) for one in yaml.safe_load_all(done.stdout))


def strict(schema: Any) -> Any:
    """The schema, where an object that names properties takes no others."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: {name: strict(one) for name, one in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
    }
    return {"type": "object", "additionalProperties": False, **inner} if "properties" in schema else inner


def problems(manifest: dict[str, Any], own: dict[str, Any], catalogue: Path | None) -> Iterator[str]:
    """What is wrong with a manifest."""
    import jsonschema  # noqa: PLC0415 - of the checks' own environment
    import kubernetes_validate  # noqa: PLC0415

    group, _, version = manifest["apiVersion"].rpartition("/")
    kind = manifest["kind"]
    if "." not in group or group.endswith(".k8s.io"):
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as problem:
            yield str(problem).partition("\n")[0]
        return
    if (known := own.get(f"{manifest['apiVersion']} {kind}")) is None:
        yield f"k8s/schemas.yaml has nothing about {manifest['apiVersion']} {kind}"
        return
    found = jsonschema.Draft202012Validator(strict(known)).iter_errors(manifest["spec"])
    yield from (f"{one.json_path}: {one.message}" for one in found)
    theirs = catalogue / group / f"{kind.lower()}_{version}.json" if catalogue else None
    if theirs is not None and theirs.exists():
        schema = json.loads(theirs.read_text())
        yield from (p.message for p in jsonschema.Draft202012Validator(schema).iter_errors(manifest))


def main() -> int:
    """The exit code: 1 when something is wrong."""
    own = yaml.safe_load((ROOT / "k8s" / "schemas.yaml").read_text())
    catalogue = Path(os.environ["CRD_CATALOGUE"]) if "CRD_CATALOGUE" in os.environ else None
    seen, bad = set(), 0
    for overlay, manifest in rendered(Path(sys.argv[1])):
        text = json.dumps(manifest, sort_keys=True)
        if text in seen:
            continue
        seen.add(text)
        for problem in problems(manifest, own, catalogue):
            bad += 1
            print(f"{overlay}: {manifest['kind']} {manifest['metadata']['name']}: {problem}", file=sys.stderr)
    asked = "asked" if catalogue else "not asked (CRD_CATALOGUE is not set)"
    print(f"{len(seen)} manifests, {bad} problems; the operators' own schemas {asked}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
