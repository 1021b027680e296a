"""Every operation that the sandbox's demo sends is one of the schema's."""

from __future__ import annotations

import graphql

from graphql_gateway import schema
from sandbox import demo, demo_checks, demo_round, demo_trading, people, play, town


def test_the_demos_operations_are_valid() -> None:
    built = graphql.build_schema(schema.FILE.read_text())
    texts = {
        f"{module.__name__}.{name}": value
        for module in (demo, demo_round, demo_trading, demo_checks, people, play, town)
        for name, value in vars(module).items()
        if isinstance(value, str) and name.isupper() and "{" in value
    }
    assert len(texts) >= 15
    for name, text in texts.items():
        assert graphql.validate(built, graphql.parse(text)) == [], name
