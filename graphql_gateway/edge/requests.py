"""What an HTTP client sends, read within bounds and checked before anything is carried out."""

from __future__ import annotations

import asyncio
from io import BytesIO
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import BodyPartReader, ClientPayloadError, StreamReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage
from strawberry.http import GraphQLRequestData

from graphql_gateway.edge.refusals import BadRequest
from mesh.errors import Exhausted, InvalidArgument

# Of a JSON body, of the `operations` and `map` of an upload, and of a WebSocket message.
OPERATION_BYTES_MAX = 256 * 1024
PARTS_MAX = 8
MAP_DEPTH_MAX = 8
_CHUNK_BYTES = 64 * 1024

# Browsers do not send this header across origins without asking first, so a foreign page cannot make an
# upload.
PREFLIGHT_HEADER = "X-Satreel-Preflight"


class PreflightRequired(InvalidArgument):
    """Uploads must carry the header X-Satreel-Preflight, whatever its value."""

    reason = "PREFLIGHT_REQUIRED"


class TooManyUploads(Exhausted):
    """As many files are on their way as this gateway keeps in memory; try again later."""

    reason = "TOO_MANY_UPLOADS"


def client_address(request: web.Request, *, trusted_proxies: int) -> str:
    """The address that the client called from, as far as proxies of ours vouch for it; "" when unknown.

    Each proxy appends whom it was called by to X-Forwarded-For, so only as many entries, from the right, are
    the word of ours. Whatever stands before them anybody may have written.
    """
    remote = request.remote or ""
    if not trusted_proxies:
        return remote
    named = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ())).split(",")
    try:
        return str(ip_address(named[-trusted_proxies:][0].strip()))
    except ValueError:
        return remote


def is_upload(request: web.Request) -> bool:
    """Whether files come with it."""
    return request.method == "POST" and request.content_type == "multipart/form-data"


async def read_operation(request: web.Request, *, within_s: float) -> GraphQLRequestData:
    """The operation of a GET or POST.

    Raises BadRequest, PreflightRequired, web.HTTPException 408, 413 and 415.
    """
    try:
        async with asyncio.timeout(within_s):
            return await _read_operation(request)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"A request of this kind is sent within {within_s:g} s.") from None


async def _read_operation(request: web.Request) -> GraphQLRequestData:
    if request.method == "GET":
        return operation_of(_of_query(request))
    if request.content_type == "application/json":
        body = await _read(request.content, OPERATION_BYTES_MAX)
        return operation_of(parse_json(bytes(body), "the body"))
    if is_upload(request):
        if PREFLIGHT_HEADER not in request.headers:
            raise PreflightRequired
        return operation_of(await _read_upload(request))
    raise web.HTTPUnsupportedMediaType(text="Send application/json, or multipart/form-data for uploads.")


def parse_json(text: bytes | str, what: str) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, nested at most 1,024 deep. Raises BadRequest."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise BadRequest(f"{what} is not JSON: {problem}") from None


def operation_of(body: Any) -> GraphQLRequestData:
    """Checks the parameters of a GraphQL request. Raises BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("A request is a JSON object with `query`, `variables` and `operationName`.")
    for name, kind, said in (
        ("query", str, "a text"),
        ("operationName", str, "a text"),
        ("variables", dict, "an object"),
        ("extensions", dict, "an object"),
    ):
        if not isinstance(body.get(name), kind | None):
            raise BadRequest(f"`{name}` must be {said}.")
    if not body.get("query"):
        raise BadRequest("`query` is missing.")
    return GraphQLRequestData(
        query=body["query"],
        variables=body.get("variables"),
        operation_name=body.get("operationName"),
        extensions=body.get("extensions"),
    )


def _of_query(request: web.Request) -> dict[str, Any]:
    given: dict[str, Any] = dict(request.query)
    for name in ("variables", "extensions"):
        if given.get(name):
            given[name] = parse_json(given[name].encode(errors="replace"), f"`{name}`")
        else:
            given.pop(name, None)
    return given


async def _read(content: StreamReader | BodyPartReader, bytes_max: int) -> bytearray:
    body = bytearray()
    while chunk := await _chunk(content):
        body += chunk
        if len(body) > bytes_max:
            raise web.HTTPRequestEntityTooLarge(bytes_max, text=f"At most {bytes_max} bytes are read here.")
    return body


async def _chunk(content: StreamReader | BodyPartReader) -> bytes:
    if isinstance(content, BodyPartReader):
        return await content.read_chunk(_CHUNK_BYTES)
    return await content.read(_CHUNK_BYTES)


async def _read_upload(request: web.Request) -> dict[str, Any]:
    """The operation with its files in place, by the GraphQL multipart request specification."""
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
        parts[part.name] = await _read(part, min(left, OPERATION_BYTES_MAX) if is_text else left)
        left -= len(parts[part.name])
    return parts


def _put_files(operations: dict[str, Any], places: Any, files: dict[str, bytearray]) -> None:
    if not isinstance(places, dict) or places.keys() != files.keys():
        raise BadRequest("`map` must name the places of every file, and of no other.")
    for name, paths in places.items():
        if not isinstance(paths, list) or not paths:
            raise BadRequest("`map` must give each file a list of places.")
        content = bytes(files[name])
        for path in paths:
            # Each place reads from the beginning.
            _put(operations, path, BytesIO(content))


def _put(operations: dict[str, Any], path: object, file: BytesIO) -> None:
    keys = path.split(".") if isinstance(path, str) else []
    if not 2 <= len(keys) <= MAP_DEPTH_MAX or keys[0] != "variables":
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
