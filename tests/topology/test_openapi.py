"""The description of REST says what the contracts do."""

from __future__ import annotations

import json
import re
from typing import Any

import openapi_spec_validator
import pytest

from topology.calls import all_calls
from topology.openapi import document, rest_methods


@pytest.fixture(scope="module")
def described() -> Any:
    return json.loads(document())


def test_it_is_valid_openapi(described: Any) -> None:
    openapi_spec_validator.validate(described, cls=openapi_spec_validator.OpenAPIV31SpecValidator)


def test_every_path_of_the_contracts_is_there_and_no_other(described: Any) -> None:
    places = [(rest.path, rest.verb.lower()) for method in rest_methods() for rest in method.rest]
    assert len(set(places)) == len(places)
    assert {(path, verb) for path, verbs in described["paths"].items() for verb in verbs} == set(places)


def test_every_operation_and_field_is_explained(described: Any) -> None:
    operations = [one for verbs in described["paths"].values() for one in verbs.values()]
    assert all(one["description"] and one["summary"] for one in operations)
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    fields = [
        field
        for name, schema in described["components"]["schemas"].items()
        if name != "Error"
        for field in schema.get("properties", {}).values()
    ]
    assert all(field["description"] for field in fields)


def test_limits_of_contracts_are_told(described: Any) -> None:
    page = next(
        one for one in described["paths"]["/v1/memes"]["get"]["parameters"] if one["name"] == "pageSize"
    )
    assert (page["schema"]["minimum"], page["schema"]["maximum"]) == (0, 1000)
    purchase = described["paths"]["/v1/listings/{listing_id}:purchase"]["post"]
    body = purchase["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["saleId", "expectedPriceSats"]
    assert re.match(body["properties"]["saleId"]["pattern"], "01900000-0000-7000-8000-000000000000")


@pytest.mark.parametrize(
    ("place", "security"),
    [
        ("get /v1/rounds/current", []),
        ("get /v1/accounts/{account_id}", [{}, {"accessToken": []}]),
        ("get /v1/deposits", [{"accessToken": []}]),
        ("post /v1/rounds/{round_id}:void", [{"accessToken": []}]),
    ],
    ids=["public", "shows users more", "users", "administrators"],
)
def test_who_may_ask_is_told(described: Any, place: str, security: list[Any]) -> None:
    verb, path = place.split()
    assert described["paths"][path][verb]["security"] == security


def test_rest_calls_as_the_edge_and_nothing_that_streams() -> None:
    by_edge = [call for call in all_calls() if "edge" in call.callers]
    assert [call.method.path for call in by_edge if not call.method.rest or call.method.streams] == []
    assert [call.method.path for call in all_calls() if call.method.rest and call not in by_edge] == []


def test_what_is_read_is_got() -> None:
    gets = [method for method in rest_methods() if method.rest[0].verb == "GET"]
    assert [method.path for method in gets if not method.repeatable] == []
    # A read that is not GET could be cached, prefetched or repeated by nobody.
    assert [method.path for method in rest_methods() if method.reads and method not in gets] == []
