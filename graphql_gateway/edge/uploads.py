"""Uploads: the GraphQL multipart request specification, within bounds of its own.

https://github.com/jaydenseric/graphql-multipart-request-spec
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from aiohttp import BodyPartReader, ClientPayloadError, web
from aiohttp.http_exceptions import BadHttpMessage

from graphql_gateway.edge.origins import PREFLIGHT_HEADERS, PreflightRequired
from graphql_gateway.edge.refusals import BadRequest
from graphql_gateway.edge.requests import (
    OPERATION_BYTES_MAX,
    GraphQLRequest,
    in_time,
    operation_of,
    parse_json,
    read,
)
from mesh.errors import Exhausted

# `operations`, `map` and six files.
PARTS_MAX = 8
PLACES_MAX = 16
PATH_KEYS_MAX = 8


class TooManyUploads(Exhausted):
    """As many files are on their way as this gateway keeps in memory; try again later."""

    reason = "TOO_MANY_UPLOADS"


async def read_upload(request: web.Request, *, within_s: float) -> GraphQLRequest:
    """The operation with its files in place, each a BytesIO of its own.

    Raises BadRequest, PreflightRequired, web.HTTPException 408 and 413.
    """
    if not any(name in request.headers for name in PREFLIGHT_HEADERS):
        raise PreflightRequired
    return operation_of(await in_time(_read_upload(request), within_s))


async def _read_upload(request: web.Request) -> dict[str, Any]:
    if (request.content_length or 0) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size)
    try:
        parts = await _read_parts(request)
    except (ValueError, TypeError, AssertionError, RuntimeError, EOFError, BadHttpMessage) as problem:
        raise BadRequest("The multipart body is malformed.") from problem
    except ClientPayloadError as problem:
        raise BadRequest("The body ended early.") from problem
    operations = parse_json(bytes(parts.pop("operations", b"")), "`operations`")
    places = parse_json(bytes(parts.pop("map", b"")), "`map`")
    if not isinstance(operations, dict) or not isinstance(operations.get("variables"), dict):
        raise BadRequest("`operations` must be an object with `variables`: one operation, not a batch.")
    _put_files(operations, places, parts)
    return operations


async def _read_parts(request: web.Request) -> dict[str, bytearray]:
    parts: dict[str, bytearray] = {}
    left = request.client_max_size
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader) or not part.name or part.name in parts:
            raise BadRequest("Each part needs a name of its own and may not be multipart itself.")
        if len(parts) >= PARTS_MAX:
            raise BadRequest(f"At most {PARTS_MAX} parts are read.")
        is_text = part.name in {"operations", "map"}
        parts[part.name] = await read(part, min(left, OPERATION_BYTES_MAX) if is_text else left)
        left -= len(parts[part.name])
    return parts


def _put_files(operations: dict[str, Any], places: Any, files: dict[str, bytearray]) -> None:
    if not isinstance(places, dict) or places.keys() != files.keys():
        raise BadRequest("`map` must name the places of every file, and of no other.")
    if not all(isinstance(paths, list) and paths for paths in places.values()):
        raise BadRequest("`map` must give each file a list of places.")
    if sum(map(len, places.values())) > PLACES_MAX:
        raise BadRequest(f"`map` may name at most {PLACES_MAX} places.")
    for name, paths in places.items():
        content = bytes(files[name])
        for path in paths:
            # Each place reads from the beginning.
            _put(operations, path, BytesIO(content))


def _put(operations: dict[str, Any], path: object, file: BytesIO) -> None:
    keys = path.split(".") if isinstance(path, str) else []
    if not 2 <= len(keys) <= PATH_KEYS_MAX or keys[0] != "variables":
        raise BadRequest("A place in `map` is a path like `variables.picture`.")
    target: Any = operations
    for key in keys[:-1]:
        target = _inside(target, key)
    if _inside(target, keys[-1]) is not None:
        raise BadRequest(f"`{path}` must be null in `operations`: the file goes there.")
    target[int(keys[-1]) if isinstance(target, list) else keys[-1]] = file


def _inside(target: Any, key: str) -> Any:
    if isinstance(target, dict) and key in target:
        return target[key]
    if (
        isinstance(target, list)
        and key.isascii()
        and key.isdecimal()
        and len(key) < 4
        and int(key) < len(target)
    ):
        return target[int(key)]
    raise BadRequest("`map` names a place that `operations` does not have.")
