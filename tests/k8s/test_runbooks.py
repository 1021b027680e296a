"""Commands of the runbooks name what there is: overlays, resources, containers, modules, targets, metrics."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.k8s.conftest import OVERLAYS, ROOT, Manifest, render
from tests.observability.test_rules import asked, known

PAGES = [*sorted((ROOT / "docs" / "runbooks").glob("*.md")), ROOT / "k8s" / "README.md"]
BLOCK = re.compile(r"^ *```sh[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# As kubectl calls them, and as manifests do.
KINDS = {
    "aerospikecluster": "AerospikeCluster",
    "certificate": "Certificate",
    "cronjob": "CronJob",
    "deploy": "Deployment",
    "deployment": "Deployment",
    "hpa": "HorizontalPodAutoscaler",
    "pvc": "PersistentVolumeClaim",
    "scaledobject": "ScaledObject",
    "service": "Service",
}
NAMED = re.compile(rf"(?<![\w/.-])({'|'.join(KINDS)})(?:/| )([a-zA-Z$][\w$-]*)")
# What whoever walks them puts in.
PUT_IN = re.compile(r"^(NAME|POD|output)$")


def commands(page: Path) -> Iterator[str]:
    """Lines of a page that a shell gets, without comments, variables put in, continued ones as one."""
    text = page.read_text()
    set_here = dict(re.findall(r"^ *([A-Z]+)=([\w.]+)$", text, re.MULTILINE))
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s)#\s.*", "", line).strip()
            for name, value in set_here.items():
                command = re.sub(rf"\${name}\b", value, command)
            if command:
                yield command


ALL = [(page, command) for page in PAGES for command in commands(page)]


@cache
def resources() -> dict[tuple[str, str], Manifest]:
    return {
        (one["kind"], one["metadata"]["name"]): one
        for overlay in OVERLAYS
        for one in render(f"overlays/{overlay}").all
    }


def wrong(command: str) -> list[str]:
    """What a command names that is not there."""
    found = [path for path in re.findall(r"(?<![\w/])k8s/[\w/.-]+", command) if not (ROOT / path).exists()]
    found += [
        folder
        for folder in re.findall(r"-k (\S+)", command)
        if not (ROOT / folder / "kustomization.yaml").exists()
    ]
    found += [
        module
        for module in re.findall(r"python3? -m ([\w.]+)", command)
        if importlib.util.find_spec(module) is None
    ]
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found += [target for target in re.findall(r"(?:^|&& )make ([\w-]+)", command) if target not in targets]
    # Of other namespaces nothing is known here.
    ours = re.sub(r"--namespace observability [^&|]*", "", command)
    for kind, name in NAMED.findall(ours) if re.search(r"\b(NS|EU|US|kubectl)\b", ours) else []:
        if not PUT_IN.match(name) and (KINDS[kind], name) not in resources():
            found.append(f"{kind}/{name}")
    # In a container there are its modules, and no commands of ours.
    if re.search(r" -- satreel-", command):
        found.append("a command that images do not have")
    containers = {
        one["name"]
        for (kind, _), manifest in resources().items()
        if kind == "Deployment"
        for part in ("containers", "initContainers")
        for one in manifest["spec"]["template"]["spec"].get(part, [])
    } | {"aerospike-server"}
    found += [name for name in re.findall(r"--container (\S+)", command) if name not in containers]
    for query in re.findall(r"'query=([^']+)'", command):
        found += sorted(asked(query) - known()) or ([] if asked(query) or query in known() else [query])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert [(command, wrong(command)) for command in commands(page) if wrong(command)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_shell_takes_the_blocks_of_a_page(page: Path) -> None:
    for block in BLOCK.findall(page.read_text()):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block


def test_the_authority_of_the_runbook_is_one(tmp_path: Path) -> None:
    """Two of them, one after the other: both are believed from one file."""
    page = ROOT / "docs" / "runbooks" / "certificates.md"
    make, both = [one for one in commands(page) if one.startswith(("openssl req", "cat old.crt"))]
    # The first one is the old one of the second.
    for before in ("/dev/null", "new.crt"):
        script = f"cp {before} old.crt; {make} 2>&1; {both}"
        subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True)
    old, new = x509.load_pem_x509_certificates((tmp_path / "both.crt").read_bytes())
    assert old != new
    for one in (old, new):
        assert one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert one.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        # Names may be the same: by this it is found who issued what.
        assert one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_every_runbook_has_commands_and_is_listed() -> None:
    index = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    for page in PAGES:
        if page.name != "README.md":
            assert list(commands(page)), page
            assert f"]({page.name})" in index


def leaves(patch: Any, manifest: Any) -> Iterator[tuple[Any, Any]]:
    """Values that a patch sets, each with the one that is there."""
    if not isinstance(patch, dict):
        yield patch, manifest
        return
    for field, value in patch.items():
        # Not given is running.
        yield from leaves(value, manifest.get(field, False) if field == "suspend" else manifest[field])


def test_patches_set_fields_that_are_there_with_values_of_their_kind() -> None:
    patches = [
        match
        for _, command in ALL
        if (match := re.search(r"patch (\w+) (\S+) .*--patch '([^']+)'", command)) is not None
    ]
    assert len(patches) >= 4
    for match in patches:
        manifest = resources()[KINDS[match[1]], match[2]]
        for value, before in leaves(json.loads(match[3]), manifest):
            assert type(value) is type(before), match[0]


APPLY = re.compile(r"apply --server-side (--force-conflicts )?-k k8s/(\S+)(?: --selector '?([^' ]+))?")


def selected(folder: str, selector: str) -> list[Manifest]:
    """What `kubectl --selector` takes of a folder: by `a=b` and `a!=b`, all of which must hold."""
    asked = [re.fullmatch(r"([\w./]+)(!?)=([\w-]+)", one) for one in selector.split(",")] if selector else []
    return [
        one
        for one in render(folder).all
        if all(
            label and (one["metadata"].get("labels", {}).get(label[1]) == label[3]) != bool(label[2])
            for label in asked
        )
    ]


def test_an_apply_takes_back_what_was_set_by_hand_or_does_not_touch_it() -> None:
    """A field that `scale`, `set env` or `patch` has set makes an apply fail, or is forced."""
    applies = [
        match for page, command in ALL if page.name != "README.md" for match in APPLY.finditer(command)
    ]
    assert len(applies) >= 7
    for forced, folder, selector in (match.groups() for match in applies):
        kinds = [(one["kind"], one["metadata"]["name"]) for one in selected(folder, selector)]
        if not forced:
            assert kinds == [("PersistentVolumeClaim", "ledger-records")]
        elif selector:
            everything = [one["metadata"]["name"] for one in render(folder).of("Deployment")]
            assert sorted([*(name for kind, name in kinds if kind == "Deployment"), "chain"]) == sorted(
                everything
            )


@pytest.mark.parametrize(
    "command",
    [
        "kubectl apply -k k8s/overlays/production",
        "python -m services.leger verify",
        "NS scale deployment/ledgers --replicas 0",
        "NS rollout status deployment rouns",
        "NS exec deployment/ledger --container app -- ls",
        "NS exec deploy/ledger -- satreel-ledger verify",
        "make k8s-chek",
        "curl x --data-urlencode 'query=sum(rate(no_such_total[5m]))'",
    ],
)
def test_a_slip_is_found(command: str) -> None:
    assert wrong(command)
