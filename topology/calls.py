"""Who calls what, as the contracts allow it: one line for each part, service and method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from mesh import contracts
from mesh.contracts import MethodContract
from topology.parts import PARTS, SERVICES, TEAMS, load_contracts

# In a contract's `callers`: whoever has a certificate of the mesh.
ANYBODY = "*"


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a service, and those that may call it."""

    service: str
    method: MethodContract
    callers: frozenset[str]


@cache
def all_calls() -> tuple[Call, ...]:
    """Every method of every service. Raises ValueError for a caller that is neither part nor team."""
    load_contracts()
    return tuple(_calls())


def _calls() -> Iterator[Call]:
    for name in SERVICES:
        contract = PARTS[name].contract
        assert contract is not None
        for method in contracts.service_methods(contract):
            named = frozenset(method.access.callers) if method.access else frozenset[str]()
            callers = PARTS.keys() - {name} if ANYBODY in named else named
            if unknown := callers - PARTS.keys() - TEAMS:
                who = ", ".join(sorted(unknown))
                raise ValueError(f"{method.path} may be called by {who}, neither part nor team of the mesh")
            yield Call(name, method, frozenset(callers))


def callers_of(service: str) -> Mapping[str, tuple[MethodContract, ...]]:
    """By part that calls this service, the methods it may call."""
    found: dict[str, list[MethodContract]] = {}
    for call in all_calls():
        if call.service == service:
            for caller in sorted(call.callers):
                found.setdefault(caller, []).append(call.method)
    return {caller: tuple(methods) for caller, methods in found.items()}


def called_by(part: str) -> tuple[str, ...]:
    """The services that a part calls."""
    return tuple(
        name for name in SERVICES if any(part in call.callers for call in all_calls() if call.service == name)
    )
