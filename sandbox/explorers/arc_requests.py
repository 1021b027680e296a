"""What a client hands to ARC: transactions in every form, and the headers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from sandbox.explorers.arc_status import Callback, Problem
from sandbox.explorers.wire import Malformed, Submitted, read_all

WAIT_S, WAIT_S_MAX = 5, 30


class _Given(BaseModel):
    rawTx: str  # noqa: N815 - the name on the wire


_ONE, _MANY = TypeAdapter(_Given), TypeAdapter(list[_Given])


@dataclass(frozen=True, slots=True)
class Options:
    """What the headers of a submission ask for. `wait_for`: a status, "" for none."""

    callback: Callback | None
    wait_for: str
    wait_s: int
    skip_fee: bool

    @classmethod
    def of(cls, request: web.Request) -> Options:
        """Raises Problem."""
        headers = request.headers
        wait_s = headers.get("X-MaxTimeout", str(WAIT_S))
        if not wait_s.isdecimal() or int(wait_s) > WAIT_S_MAX:
            raise Problem(400, f"max timeout {wait_s} can not be higher than {WAIT_S_MAX}")
        callback = None
        if url := headers.get("X-CallbackUrl", ""):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise Problem(400, "invalid callback URL")
            callback = Callback(
                url,
                headers.get("X-CallbackToken", ""),
                full=_is_true(headers.get("X-FullStatusUpdates")),
                batch=_is_true(headers.get("X-CallbackBatch")),
            )
        return cls(
            callback=callback,
            wait_for=headers.get("X-WaitFor", ""),
            wait_s=int(wait_s),
            skip_fee=_is_true(headers.get("X-SkipFeeValidation")),
        )


def _is_true(header: str | None) -> bool:
    return header is not None and header.lower() == "true"


async def transactions_in(request: web.Request, *, many: bool) -> list[Submitted]:
    """Out of JSON, hex text or bytes, raw or extended. Raises Problem."""
    body = await request.read()
    try:
        match request.content_type:
            case "application/json" if many:
                data = b"".join(bytes.fromhex(given.rawTx) for given in _MANY.validate_json(body))
            case "application/json":
                data = bytes.fromhex(_ONE.validate_json(body).rawTx)
            case "text/plain":
                data = bytes.fromhex("".join(body.decode().split()))
            case "application/octet-stream":
                data = body
            case other:
                raise Problem(400, f"given content-type {other} does not match any of the allowed ones")
        return list(read_all(data))
    except ValidationError:
        raise Problem(400, "error parsing transaction from request: rawTx is missing") from None
    except (Malformed, ValueError) as error:
        raise Problem(400, f"error parsing transaction from request: {error}") from None
