"""The TypeScript package: its operations fit the schema, it compiles, and its own tests pass."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path

import graphql
import pytest

from graphql_gateway import schema
from tests.client import browser
from tests.client.stage import staged
from tools import client
from tools.npm import npm

ROOT = client.ROOT
TESTS_S = 600
# Root fields for who writes documents of their own.
NOT_FOR_FRONT_ENDS = {"node", "nodes"}


@pytest.fixture(scope="module")
def package() -> Path:
    """The package, built from the schema as it is."""
    client.build()
    return client.PACKAGE


def operations() -> str:
    return "\n".join(file.read_text() for file in sorted((client.PACKAGE / "operations").glob("*.graphql")))


def test_operations_fit_the_schema_and_leave_nothing_out() -> None:
    built = graphql.build_schema(schema.FILE.read_text())
    document = graphql.parse(operations())
    assert graphql.validate(built, document) == []
    asked = {
        field.name.value
        for operation in document.definitions
        if isinstance(operation, graphql.OperationDefinitionNode)
        for field in operation.selection_set.selections
        if isinstance(field, graphql.FieldNode)
    }
    roots = (built.query_type, built.mutation_type, built.subscription_type)
    for_people = {
        name
        for root in roots
        if root is not None
        for name, field in root.fields.items()
        if not name.startswith("_") and "Administrators only" not in (field.description or "")
    }
    missing = for_people - asked - NOT_FOR_FRONT_ENDS
    assert not missing, f"clients/typescript/operations has no operation for {missing}"


def test_the_readme_shows_the_first_program() -> None:
    program = (client.PACKAGE / "examples" / "first.mjs").read_text()
    assert f"```js\n{program}```" in (client.PACKAGE / "README.md").read_text()


def test_codes_come_from_the_gateway_the_mesh_and_each_service(package: Path) -> None:
    codes = (package / "src" / "generated" / "codes.ts").read_text()
    for code in (
        "NEWS_LOST",
        "ID_REUSED",
        "OVERLOADED",
        "CHALLENGE_USED",
        "INSUFFICIENT_FUNDS",
        "ALREADY_LISTED",
    ):
        assert f'| "{code}"' in codes


def test_the_manifest_names_each_document_by_its_hash(package: Path) -> None:
    manifest = json.loads((package / "dist" / client.MANIFEST).read_text())
    assert (manifest["format"], manifest["version"]) == ("apollo-persisted-query-manifest", 1)
    built = graphql.build_schema(schema.FILE.read_text())
    assert len(manifest["operations"]) == len(
        re.findall(r"(?m)^(?:query|mutation|subscription) ", operations())
    )
    for one in manifest["operations"]:
        assert one["id"] == hashlib.sha256(one["body"].encode()).hexdigest()
        document = graphql.parse(one["body"])
        assert graphql.validate(built, document) == []
        [operation] = (
            part for part in document.definitions if isinstance(part, graphql.OperationDefinitionNode)
        )
        assert operation.name is not None
        assert (one["name"], one["type"]) == (operation.name.value, operation.operation.value)


async def test_its_own_tests(package: Path, tmp_path: Path, valkey_url: str) -> None:
    async with staged(tmp_path, valkey_url, package / "dist" / client.MANIFEST) as stage:
        done = await asyncio.to_thread(
            npm, package, "test", "--silent", timeout_s=TESTS_S, SATREEL_STAGE=stage
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(?m)^. pass (\d+)", done.stdout)[0]) >= 20, done.stdout


@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium here")
async def test_in_a_browser(package: Path, tmp_path: Path, valkey_url: str) -> None:
    """A page of another origin asks, follows by WebSocket, logs in with a wallet, and watches a film."""
    site = browser.Site(package)
    manifest = package / "dist" / client.MANIFEST
    async with browser.served(site) as page, staged(tmp_path, valkey_url, manifest, page) as site.stage:
        told = await browser.told_by(site, page, tmp_path / "profile")
    assert told == {
        "number": 1,
        "numbers": [1, 2],
        "same": True,
        "address": True,
        "available": 5_000,
        "seconds": told.get("seconds"),
        "after": None,
    }
    assert told["seconds"] >= 3
