"""The description of REST, OpenAPI 3.1, made from the contracts: paths, parameters, limits, errors, words.

https://spec.openapis.org/oas/v3.1.1.html; JSON of messages: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from satreel.mesh.v1 import access_pb2

from mesh import contracts
from mesh.contracts import MethodContract, Rest
from mesh.costs import cost_of
from topology.calls import all_calls
from topology.comments import comment_of
from topology.envoy import Json
from topology.parts import EDGE
from topology.schemas import Schemas, json_name

_TITLE, _VERSION = "Satreel", "1"
_WORDS = (
    "Reads and commands of Satreel as REST, for programs; what changes is followed over GraphQL "
    "subscriptions.\n\nAmounts are satoshis. 64-bit numbers are strings of digits, as protobuf's JSON has "
    "them; numbers are taken too. Times are RFC 3339. Ids of what you make are UUIDv7 of your own: the same "
    "request may be sent again with the same id and happens once. Log in: "
    "`POST /v1/challenges`, sign the text with your wallet, `POST /v1/sessions`, then "
    "`Authorization: Bearer <access token>`.\n\n"
    "Within a minute you have so many requests, and so much cost: `RateLimit` says what is left. "
    "`x-satreel-cost` of a path is what a request takes of it: `once`, and `each` for every item asked for "
    "(`of`: by the number that this field says, or the values it has; 50 when nothing says how many)."
)
_ERROR_WORDS = {
    "400": "The request breaks a rule; `details` may name the fields.",
    "401": "Nobody is signed in, or the access token is not valid.",
    "403": "This is not for the user, or for this address.",
    "404": "There is no such thing.",
    "408": "The request did not come in time.",
    "409": "It was made before with another body, or something came between.",
    "413": "The request is too large.",
    "429": "Asked too often, or by too many at once: `Retry-After` says when to come back.",
    "503": "A service does not answer. What may be repeated may be sent again.",
    "504": "A service did not answer in time. What may be repeated may be sent again.",
}
_RATE_HEADERS = {
    "RateLimit": {"description": "What is left, and until when.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "What may be asked for.", "schema": {"type": "string"}},
}
_IN_PATH = re.compile(r"{(\w+)}")


def document() -> str:
    """The whole description, as it is served."""
    return json.dumps(_document(), indent=1, ensure_ascii=False) + "\n"


def rest_methods() -> Iterator[MethodContract]:
    """Those that REST may call."""
    return (call.method for call in all_calls() if call.method.rest and EDGE in call.callers)


def _document() -> Json:
    schemas = Schemas()
    paths: dict[str, Json] = {}
    for method in rest_methods():
        for number, rest in enumerate(method.rest):
            operation = _operation(method, rest, schemas, first=number == 0)
            paths.setdefault(rest.path, {})[rest.verb.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": _VERSION, "description": _WORDS},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({_tag(method) for method in rest_methods()})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(schemas.found.items())) | {"Error": _error()},
            "responses": {
                status: {
                    "description": words,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for status, words in _ERROR_WORDS.items()
            },
        },
    }


def _operation(method: MethodContract, rest: Rest, schemas: Schemas, *, first: bool) -> Json:
    described = contracts.descriptor(method)
    request: Descriptor = described.input_type
    in_path = _IN_PATH.findall(rest.path)
    others = [field for field in request.fields if field.name not in in_path]
    words = comment_of(described)
    found: Json = {
        "operationId": f"{_tag(method)}.{method.name}"
        + ("" if first else f".{in_path[0] if in_path else 'all'}"),
        "tags": [_tag(method)],
        "summary": words.partition(". ")[0].strip().rstrip("."),
        "description": words,
        "parameters": [_parameter(request.fields_by_name[name], "path", schemas) for name in in_path],
        "responses": {"200": _answer(described.output_type, schemas), **_errors()},
    }
    if method.access is not None:
        found["security"] = _security(method.access)
    found["x-satreel-cost"] = _cost(method)
    if rest.has_body:
        schema = schemas.message(request, without=frozenset(in_path))
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    else:
        found["parameters"] += [_parameter(field, "query", schemas) for field in others]
    return found


def _security(access: access_pb2.Access) -> list[Json]:
    """Nothing for what is for all, a token or nothing where more may be shown to its user."""
    signed_in: Json = {"accessToken": []}
    if access.user != access_pb2.USER_UNSPECIFIED:
        return [signed_in]
    return [{}, signed_in] if access.user_counts else []


def _cost(method: MethodContract) -> Json:
    cost = cost_of(method)
    if not cost.each:
        return {"once": cost.once}
    items = cost.size or cost.keys
    return {"once": cost.once, "each": cost.each} | ({"of": json_name(items)} if items else {})


def _parameter(field: FieldDescriptor, where: str, schemas: Schemas) -> Json:
    name = field.name if where == "path" else json_name(field)
    found: Json = {"name": name, "in": where, "description": comment_of(field)}
    return {
        **found,
        "required": where == "path" or schemas.is_required(field),
        "schema": schemas.field(field),
    }


def _answer(message: Descriptor, schemas: Schemas) -> Json:
    content = {"application/json": {"schema": schemas.message(message)}}
    return {"description": comment_of(message), "headers": _RATE_HEADERS, "content": content}


def _errors() -> Json:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in _ERROR_WORDS}


def _error() -> Json:
    detail: dict[str, Any] = {
        "type": "object",
        "properties": {
            "@type": {"type": "string", "examples": ["type.googleapis.com/google.rpc.ErrorInfo"]},
            "reason": {"type": "string", "description": "For programs, e.g. ROUND_NOT_FOUND."},
            "domain": {"type": "string", "description": "Whose reason it is, e.g. satreel.rounds."},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "fieldViolations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
                },
            },
        },
        "required": ["@type"],
    }
    return {
        "description": "A google.rpc.Status.",
        "type": "object",
        "properties": {
            "code": {"type": "integer", "description": "Number of google.rpc.Code."},
            "message": {"type": "string", "description": "For people."},
            "details": {"type": "array", "items": detail},
        },
        "required": ["code", "message"],
    }


def _tag(method: MethodContract) -> str:
    return method.service.split(".")[1]
