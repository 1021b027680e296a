"""Valid operations by chance, made from a schema."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import orjson
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
)

from tests.gateway.weather import IDS


@dataclass(frozen=True)
class Operation:
    """A document and what a request says beside it."""

    text: str
    variables: dict[str, Any]
    name: str | None


class Operations:
    """Makes operations; the same ones for the same chance."""

    def __init__(self, schema: GraphQLSchema, chance: random.Random, *, fields_max: int = 40) -> None:
        self._schema = schema
        self._chance = chance
        self._fields_max = fields_max

    def make(self, kind: str) -> Operation:
        """One operation, sometimes with another one in its document. Most are valid."""
        self._left = self._fields_max
        self._count = 0
        self._definitions: dict[str, str] = {}
        self._variables: dict[str, Any] = {}
        self._fragments: list[str] = []
        self._spreadable: dict[str, list[str]] = {}
        root = {"query": self._schema.query_type, "mutation": self._schema.mutation_type}.get(
            kind, self._schema.subscription_type
        )
        assert root is not None
        selections = self._one(root) if kind == "subscription" else self._selections(root, 0)
        name = self._chance.choice([None, "Named"])
        declared = f"({', '.join(self._definitions.values())})" if self._definitions else ""
        text = f"{kind} {name or ''}{declared} {selections}\n" + "\n".join(self._fragments)
        if name and self._chance.random() < 0.3:
            return Operation(f"{text}\nquery Other {{ __typename }}", self._variables, name)
        return Operation(text, self._variables, name if self._chance.random() < 0.5 else None)

    # Selections

    def _one(self, root: GraphQLObjectType) -> str:
        return f"{{ {self._field(root, self._chance.choice(sorted(root.fields)), 0)} }}"

    def _selections(self, on: Any, depth: int) -> str:
        parts: list[str] = []
        for _ in range(self._chance.randint(1, 4 if depth else 5)):
            parts.append(self._selection(on, depth))
        if is_abstract_type(on):
            parts += [self._on(one, depth) for one in self._some_types(on)]
        return f"{{ {' '.join(parts)} }}"

    def _selection(self, on: Any, depth: int) -> str:
        names = (
            [] if isinstance(on, GraphQLUnionType) else [name for name in sorted(on.fields) if name[0] != "_"]
        )
        chance = self._chance.random()
        if not names or chance < 0.05:
            return f"{self._alias(0.5)}__typename{self._directives()}"
        if chance < 0.15 and self._left > 0:
            return f"...{self._directives()} {self._selections(on, depth)}"
        if chance < 0.25 and self._left > 0:
            return self._spread(on, depth)
        if chance < 0.28 and self._left > 0:
            return self._on(on, depth)
        if self._left <= 0 or depth > 7:
            simple = [name for name in names if is_leaf_type(get_named_type(on.fields[name].type))]
            names = [
                name for name in simple if not any(map(is_required_argument, on.fields[name].args.values()))
            ]
            if not names:
                return "__typename"
        return self._field(on, self._chance.choice(names), depth)

    def _field(self, on: Any, name: str, depth: int) -> str:
        self._left -= 1
        field = on.fields[name]
        arguments = self._arguments(field.args)
        alias = self._alias(1.0 if arguments else 0.2)
        kind = get_named_type(field.type)
        inner = "" if is_leaf_type(kind) else f" {self._selections(kind, depth + 1)}"
        text = f"{alias}{name}{arguments}{self._directives()}{inner}"
        if inner and self._chance.random() < 0.1:
            # The same field again: its selections are merged.
            text += f" {alias}{name}{arguments} {self._selections(kind, depth + 1)}"
        return text

    def _on(self, on: Any, depth: int) -> str:
        return f"... on {on.name}{self._directives()} {self._selections(on, depth)}"

    def _some_types(self, on: Any) -> list[GraphQLObjectType]:
        possible = sorted(self._schema.get_possible_types(on), key=lambda one: one.name)
        return self._chance.sample(possible, self._chance.randint(0, min(3, len(possible))))

    def _spread(self, on: Any, depth: int) -> str:
        known = self._spreadable.setdefault(on.name, [])
        if not known or self._chance.random() < 0.5:
            name = f"F{self._new()}"
            # It spreads itself in no way: it is known only when it is written.
            text = f"fragment {name} on {on.name} {self._selections(on, depth)}"
            self._fragments.append(text)
            known.append(name)
        else:
            name = self._chance.choice(known)
        return f"...{name}{self._directives()}"

    def _new(self) -> int:
        self._count += 1
        return self._count

    def _alias(self, likely: float) -> str:
        return f"a{self._new()}: " if self._chance.random() < likely else ""

    def _directives(self) -> str:
        if self._chance.random() > 0.12:
            return ""
        name, value = self._chance.choice(["skip", "include"]), self._chance.random() < 0.5
        if self._chance.random() < 0.5:
            return f" @{name}(if: {str(value).lower()})"
        variable = f"c{self._chance.randint(1, 2)}"
        default = "" if self._chance.random() < 0.7 else " = true"
        self._definitions.setdefault(variable, f"${variable}: Boolean!{default}")
        if "=" not in self._definitions[variable] or self._chance.random() < 0.5:
            self._variables.setdefault(variable, value)
        return f" @{name}(if: ${variable})"

    # Arguments

    def _arguments(self, arguments: dict[str, Any]) -> str:
        given = []
        for name, argument in arguments.items():
            if is_required_argument(argument) or self._chance.random() < 0.5:
                given.append(f"{name}: {self._argument(argument)}")
        return f"({', '.join(given)})" if given else ""

    def _argument(self, argument: Any) -> str:
        kind = argument.type
        value = self._value(kind)
        if get_named_type(kind).name != "Upload" and self._chance.random() < 0.5:
            return _literal(kind, value)
        name = f"v{self._new()}"
        declared = kind
        has_default = argument.default is not None
        if isinstance(kind, GraphQLNonNull) and has_default and self._chance.random() < 0.3:
            declared = kind.of_type
        default = ""
        if not isinstance(declared, GraphQLNonNull) and self._chance.random() < 0.3:
            default = f" = {_literal(kind, self._value(kind))}"
        self._definitions[name] = f"${name}: {declared}{default}"
        absent = not isinstance(declared, GraphQLNonNull) and self._chance.random() < 0.3
        if not absent:
            self._variables[name] = value
            if self._chance.random() < 0.03:
                self._variables[name] = self._chance.choice([None, {"a": 1}, "wrong", -1, 2**40, [[]]])
        return f"${name}"

    def _value(self, kind: Any) -> Any:
        """As JSON says it."""
        if isinstance(kind, GraphQLNonNull):
            return self._present(kind.of_type)
        return None if self._chance.random() < 0.15 else self._present(kind)

    def _present(self, kind: Any) -> Any:
        chance = self._chance
        if isinstance(kind, GraphQLList):
            return [self._value(kind.of_type) for _ in range(chance.randint(0, 3))]
        if isinstance(kind, GraphQLEnumType):
            return chance.choice(sorted(kind.values))
        if isinstance(kind, GraphQLInputObjectType):
            return {
                name: self._value(field.type)
                for name, field in kind.fields.items()
                if isinstance(field.type, GraphQLNonNull) or chance.random() < 0.6
            }
        made: dict[str, Callable[[], Any]] = {
            "ID": lambda: chance.choice([*IDS, "junk", self._global_id()]),
            "Float": lambda: 0.5,
            "Boolean": lambda: chance.random() < 0.5,
            "DateTime": lambda: f"2026-01-0{chance.randint(1, 9)}T12:00:00Z",
            "Upload": lambda: BytesIO(b"picture"),
            **dict.fromkeys(("Int", "Sats", "Long"), lambda: chance.choice([1, 2, 3, 3, 5, 5, 0, 101])),
        }
        return made.get(kind.name, lambda: chance.choice(["", "", "", "text", '"quoted" \\ \n', IDS[0]]))()

    def _global_id(self) -> str:
        node = self._schema.get_type("Node")
        names = [one.name for one in self._schema.get_possible_types(node)] if node else ["Cat"]  # type: ignore[arg-type]
        return base64.b64encode(
            f"{self._chance.choice(sorted(names))}:{self._chance.choice(IDS)}".encode()
        ).decode()


def _literal(kind: Any, value: Any) -> str:
    """The value as a document writes it: JSON, but for names."""
    inner = get_nullable_type(kind)
    if isinstance(value, list):
        return f"[{', '.join(_literal(inner.of_type, one) for one in value)}]"
    if isinstance(value, dict):
        fields = (f"{key}: {_literal(inner.fields[key].type, one)}" for key, one in value.items())
        return f"{{{', '.join(fields)}}}"
    if isinstance(inner, GraphQLEnumType) and value is not None:
        return str(value)
    return orjson.dumps(value).decode()
