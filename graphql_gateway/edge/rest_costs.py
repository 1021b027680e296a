"""What requests to REST cost of a client's minute, by their method, path and query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from multidict import MultiMapping

from mesh.contracts import service_methods, service_of
from mesh.costs import ITEMS, Cost, cost_of

_SERVICES: Final = ("chain", "content", "identity", "insight", "ledger", "market", "rounds")
# Of contracts, in a page and in a batch.
ITEMS_MAX = 1_000
_SIZE = re.compile(r"[1-9][0-9]{0,3}")
_IN_PATH = re.compile(r"\\{\w+\\}")


class RestCosts:
    """Of all methods that REST has."""

    def __init__(self) -> None:
        places: dict[str, list[tuple[str, Cost]]] = {}
        for method in (method for name in _SERVICES for method in service_methods(service_of(name))):
            for rest in method.rest:
                places.setdefault(rest.verb, []).append((rest.path, cost_of(method)))
        self._by_verb = {verb: _Places(found) for verb, found in places.items()}

    def of(self, verb: str, path: str, query: MultiMapping[str]) -> int:
        """0 where REST has nothing."""
        places = self._by_verb.get(verb)
        cost = places.find(path) if places else None
        return cost.of(_items(cost, query)) if cost else 0


class _Places:
    """Paths with fields in braces, the most literal first."""

    def __init__(self, places: Sequence[tuple[str, Cost]]) -> None:
        ordered = sorted(places, key=lambda place: -len(_IN_PATH.sub("", re.escape(place[0]))))
        self._costs = [cost for _, cost in ordered]
        self._pattern = re.compile(
            "|".join(f"({_IN_PATH.sub('[^/]+', re.escape(path))})" for path, _ in ordered)
        )

    def find(self, path: str) -> Cost | None:
        found = self._pattern.fullmatch(path)
        return self._costs[found.lastindex - 1] if found and found.lastindex else None


def _items(cost: Cost, query: MultiMapping[str]) -> int:
    if cost.keys is not None:
        return min(len(_told(cost.keys, query)), ITEMS_MAX)
    size = _told(cost.size, query)[-1:] if cost.size is not None else []
    # Services refuse what is no number, or too large a one.
    return int(size[0]) if size and _SIZE.fullmatch(size[0]) and int(size[0]) <= ITEMS_MAX else ITEMS


def _told(field: FieldDescriptor, query: MultiMapping[str]) -> list[str]:
    """Under both names that protobuf's JSON knows."""
    return [value for name in {field.name, field.json_name} for value in query.getall(name, [])]
