"""What an HTTP client sends, read within bounds and checked before anything is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar

import orjson
from aiohttp import BodyPartReader, StreamReader, hdrs, web

from graphql_gateway.edge.negotiation import JSON
from graphql_gateway.edge.refusals import BadRequest
from graphql_gateway.safety.documents import Documents, Named

T = TypeVar("T")

# Of a JSON body, of the `operations` and `map` of an upload, and of a WebSocket message.
OPERATION_BYTES_MAX = 256 * 1024
_CHUNK_BYTES = 64 * 1024
_TEXT, _OBJECT = ((str, type(None)), "a text"), ((dict, type(None)), "an object")
_PARAMETERS = (
    ("query", *_TEXT),
    ("documentId", *_TEXT),
    ("operationName", *_TEXT),
    ("variables", *_OBJECT),
    ("extensions", *_OBJECT),
)


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of a request, of the types that GraphQL over HTTP gives them; `query` is not empty once
    `found`.
    """

    named: Named
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None

    @property
    def query(self) -> str:
        """The document's text."""
        return self.named.text

    async def found(self, documents: Documents) -> GraphQLRequest:
        """With the text of the document that it names. Raises what `text_of` raises."""
        text = await documents.text_of(self.named)
        if text is self.named.text:
            return self
        named = Named(text, self.named.sha256, self.named.document_id)
        return GraphQLRequest(named, self.variables, self.operation_name, self.extensions)


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


async def read_operation(request: web.Request, *, within_s: float) -> GraphQLRequest:
    """The operation of a GET, or of a POST without files.

    Raises BadRequest, web.HTTPException 408, 413 and 415.
    """
    if request.method == "GET":
        return operation_of(_of_query(request))
    _require_json(request)
    reading = read(request.content, OPERATION_BYTES_MAX)
    # Most bodies come with their heads.
    body = await (reading if request.content.is_eof() else in_time(reading, within_s))
    return operation_of(parse_json(bytes(body), "the body"))


async def in_time(reading: Awaitable[T], within_s: float) -> T:
    """What is read. Raises web.HTTPException 408 when the client is slower than that."""
    try:
        async with asyncio.timeout(within_s):
            return await reading
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"A request of this kind is sent within {within_s:g} s.") from None


def _require_json(request: web.Request) -> None:
    if hdrs.CONTENT_ENCODING in request.headers:
        raise web.HTTPUnsupportedMediaType(text="Compressed bodies are not read.")
    if request.content_type != JSON or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise web.HTTPUnsupportedMediaType(
            text="Send application/json in UTF-8, or multipart/form-data for uploads."
        )


def parse_json(text: bytes | str, what: str) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN, nested at most 1,024 deep. Raises BadRequest."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise BadRequest(f"{what} is not JSON: {problem}") from None


def operation_of(body: Any) -> GraphQLRequest:
    """Checks the parameters of a GraphQL request. Raises BadRequest, and what `Named.by` raises."""
    if not isinstance(body, dict):
        raise BadRequest("A request is a JSON object with `query`, `variables` and `operationName`.")
    for name, kinds, said in _PARAMETERS:
        if not isinstance(body.get(name), kinds):
            raise BadRequest(f"`{name}` must be {said}.")
    named = Named.by(body.get("query") or "", body.get("documentId") or None, body.get("extensions"))
    if not named.text and named.is_text_only:
        raise BadRequest("`query` is missing.")
    return GraphQLRequest(
        named,
        variables=body.get("variables"),
        operation_name=body.get("operationName"),
        extensions=body.get("extensions"),
    )


def _of_query(request: web.Request) -> dict[str, Any]:
    if len(set(request.query)) < len(request.query):
        raise BadRequest("Each parameter is given once.")
    given: dict[str, Any] = dict(request.query)
    for name in ("variables", "extensions"):
        if given.get(name):
            given[name] = parse_json(given[name].encode(errors="replace"), f"`{name}`")
        else:
            given.pop(name, None)
    return given


async def read(content: StreamReader | BodyPartReader, bytes_max: int) -> bytearray:
    """All of it. Raises web.HTTPException 413 when it is longer."""
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
