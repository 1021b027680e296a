"""Every direct dependency is accounted for: used by the code, and explained in docs/DEPENDENCIES.md."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("mesh", "services", "graphql_gateway", "sandbox", "verifier")
# Pinned for the records' second adapter.
NOT_YET_IMPORTED = {"aerospike"}


def direct() -> tuple[set[str], set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [
        {re.split(r"[<>=\[ ]", line)[0] for line in lines}
        for lines in (project["dependencies"], project["optional-dependencies"]["dev"])
    ]
    return names[0], names[1]


def imported() -> set[str]:
    """Top-level packages that the programs import, inside functions too."""
    found: set[str] = set()
    for folder in PROGRAMS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module)
    return {name.split(".")[0] for name in found}


def test_each_is_explained() -> None:
    services, tools = direct()
    rows = [line for line in (ROOT / "docs/DEPENDENCIES.md").read_text().splitlines() if line.startswith("|")]
    explained = {name for row in rows for name in row.split("|")[1].strip().split(", ")}

    assert services | tools <= explained


def test_each_of_the_services_is_imported() -> None:
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for package in imported() for owner in owners.get(package, ())}

    services, _ = direct()
    assert services - used - NOT_YET_IMPORTED == set()
