"""The schema: committed as it is, and every part of it documented."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import graphql
import pytest

from graphql_gateway import schema


def test_the_committed_schema_is_the_schema() -> None:
    assert schema.FILE.read_text() == schema.build().as_str() + "\n", (
        "python -m graphql_gateway.schema --write"
    )
    assert schema.main(["--check"]) == 0


def test_the_module_prints_the_schema() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "graphql_gateway.schema"], capture_output=True, text=True, check=True
    )
    assert printed.stdout == schema.FILE.read_text()


def test_check_tells_of_drift(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "FILE", schema.FILE.with_name("no-such.graphql"))
    assert schema.main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err
    assert schema.main(["--nonsense"]) == 2


def test_every_type_field_and_argument_is_documented() -> None:
    built = graphql.build_schema(schema.FILE.read_text())
    assert [name for name, described in _described(built) if not described] == []


def _described(built: graphql.GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    for name, type_ in built.type_map.items():
        if name.startswith("__") or graphql.is_specified_scalar_type(type_):
            continue
        yield name, type_.description
        for value_name, value in getattr(type_, "values", {}).items():
            yield f"{name}.{value_name}", value.description
        for field_name, field in getattr(type_, "fields", {}).items():
            yield f"{name}.{field_name}", field.description
            for argument_name, argument in getattr(field, "args", {}).items():
                yield f"{name}.{field_name}({argument_name})", argument.description
    for directive in built.directives:
        yield f"@{directive.name}", directive.description
