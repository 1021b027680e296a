"""Spans say what conventions name, or what is listed as ours; never an amount."""

from __future__ import annotations

from tests.observability.attributes import ENVOY, OURS, conventions, declared, strange


def test_names_are_those_of_the_conventions_or_listed() -> None:
    assert {"rpc.method", "service.peer.name", "db.system.name"} <= conventions()
    assert not {"peer.service", "db.system", "rpc.system"} & conventions()
    found = declared()
    assert {"graphql.outcome", "db.operation.name", "satreel.round.id"} <= found
    assert not found - conventions() - OURS
    # What is listed is said, and is nobody else's name.
    assert not (OURS - {"satreel.kept"}) - found
    assert not OURS & (conventions() | ENVOY)


def test_an_amount_would_be_found() -> None:
    fine = {
        "http.response.status_code": 200,
        "graphql.cost": 12.0,
        "satreel.round.id": "0190ab",
        "error": True,
    }
    assert strange([fine]) == set()
    assert strange([{"satreel.amount_sat": "five"}]) == {("satreel.amount_sat", "five")}
    for amount in (5, 5.0, "5", "-5", "5.25"):
        assert strange([{"satreel.round.id": amount}]) == {("satreel.round.id", amount)}
