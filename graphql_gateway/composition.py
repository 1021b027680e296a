"""How the graph is put together from its domains, all of them or some.

Every domain is a subgraph: it owns the types that it declares, and adds its parts to the types that join it
with others (`entities`). A field is served if its domain is. What another domain finds by id is known here by
its key only, unless that domain is served too; then it is joined in this process, by the DataLoaders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import strawberry
from strawberry import relay
from strawberry.types.base import StrawberryObjectDefinition, get_object_definition
from strawberry.types.field import StrawberryField

from graphql_gateway.nullability import fallible
from graphql_gateway.proto import message_of, show_fields
from graphql_gateway.safety.access import guarded

T = TypeVar("T")

_wholes: dict[type, type] = {}


def part_of(whole: type) -> Callable[[type[T]], type[T]]:
    """Makes a class a domain's part of `whole`: its fields are fields of that type.

    Annotated fields without a resolver are fields of the message that `whole` shows, as with `proto_type`.
    """

    def decorate(cls: type[T]) -> type[T]:
        message = message_of(whole)
        if message is not None:
            show_fields(cls, message)
        _wholes[cls] = whole
        return strawberry.type(cls)

    return decorate


@dataclass(frozen=True, slots=True)
class Domain:
    """A part of the graph that a team can own."""

    name: str
    # Its parts of the types in `entities`.
    parts: tuple[type, ...]
    # Types whose objects it finds by their ids.
    nodes: tuple[type, ...] = ()
    # Streams in `Live` that its subscriptions stand on.
    feeds: tuple[str, ...] = ()


class Composition:
    """The types of a graph that serves some domains of all."""

    def __init__(self, served: Sequence[Domain], everything: Iterable[Domain]) -> None:
        self.domains = tuple(served)
        self._here = {node for domain in served for node in domain.nodes}
        self._elsewhere = {node for domain in everything for node in domain.nodes} - self._here
        self._fields: dict[type, list[StrawberryField]] = {}

    @property
    def nodes(self) -> list[type]:
        """Relay nodes of the whole graph, those served here or not."""
        return sorted(self._here | self._elsewhere, key=lambda node: node.__name__)

    @property
    def feeds(self) -> set[str]:
        """Streams that subscriptions here stand on."""
        return {feed for domain in self.domains for feed in domain.feeds}

    @property
    def elsewhere(self) -> list[type]:
        """Nodes that are known by their key only."""
        return [node for node in self.nodes if node in self._elsewhere]

    def has(self, whole: type) -> bool:
        """Whether a type has parts here."""
        return any(_wholes[part] is whole for domain in self.domains for part in domain.parts)

    def resolves(self, entity: type) -> bool:
        """Whether more than its key is known of an entity here."""
        return entity in self._here or self.has(entity)

    def fields_of(self, definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        """A type's fields here, guarded as they declare. Raises TypeError when two domains have the same."""
        origin = definition.origin
        if definition.concrete_of is not None or origin is None:
            return [guarded(field) for field in definition.fields]
        if origin not in self._fields:
            fields = [*self._own(definition), *self._added(origin)]
            ((name, times),) = Counter(field.python_name for field in fields).most_common(1) or [("", 0)]
            if times > 1:
                raise TypeError(f"{definition.name}.{name}: two domains have it")
            self._fields[origin] = [fallible(guarded(field)) for field in fields]
        return self._fields[origin]

    def _own(self, definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        if definition.origin not in self._elsewhere:
            return definition.fields
        key = {field.python_name for field in get_object_definition(relay.Node, strict=True).fields}
        return [field for field in definition.fields if field.python_name in key]

    def _added(self, whole: type) -> list[StrawberryField]:
        return [
            field
            for domain in self.domains
            for part in domain.parts
            if _wholes[part] is whole
            for field in get_object_definition(part, strict=True).fields
        ]
