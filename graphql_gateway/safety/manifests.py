"""Manifests of trusted documents, as the tools of front ends write them.

- Apollo's: {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id", "body", …}]}
- graphql-codegen's `persisted-documents.json`, Relay's `persisted_queries.json`: {id: document}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
import strawberry
from graphql import GraphQLError, GraphQLSchema, parse, validate

APOLLO = "apollo-persisted-query-manifest"


class BadManifest(ValueError):  # noqa: N818 - as the other failures are named
    """The file is no manifest, or contradicts another."""


def read_manifests(paths: Iterable[Path]) -> dict[str, str]:
    """Id → document, of all files. Raises BadManifest, OSError."""
    documents: dict[str, str] = {}
    for path in paths:
        for document_id, text in _read(path).items():
            if documents.setdefault(document_id, text) != text:
                raise BadManifest(f"{path}: {document_id} is another document elsewhere")
    return documents


def no_longer_valid(documents: Mapping[str, str], schema: strawberry.Schema) -> dict[str, str]:
    """Id → what is wrong, of documents that the schema does not know any more."""
    core = schema._schema  # noqa: SLF001 - Strawberry's way to graphql-core's schema
    return {key: problem for key, text in documents.items() if (problem := _problem(text, core))}


def _problem(text: str, schema: GraphQLSchema) -> str | None:
    try:
        errors = validate(schema, parse(text))
    except GraphQLError as error:
        errors = [error]
    return errors[0].message if errors else None


def _read(path: Path) -> dict[str, str]:
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as problem:
        raise BadManifest(f"{path}: {problem}") from None
    documents = _apollo(found) if isinstance(found, dict) and found.get("format") == APOLLO else found
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise BadManifest(f"{path}: neither Apollo's manifest nor an object of id → document")
    return documents


def _apollo(manifest: dict[str, Any]) -> dict[str, str] | None:
    operations = manifest.get("operations")
    if manifest.get("version") != 1 or not isinstance(operations, list):
        return None
    try:
        return {operation["id"]: operation["body"] for operation in operations}
    except (KeyError, TypeError):
        return None
