"""Answers to a GET that everybody may have: caches on the way may keep them."""

from __future__ import annotations

import hashlib

from aiohttp import hdrs, web

_FOR_ONE = "private, no-store"


def cacheable(request: web.Request, response: web.Response, *, max_age_s: int) -> web.Response:
    """Says how long the answer may be kept; 304 to who has it. `max_age_s` is 0 for what is not for all."""
    if request.method != hdrs.METH_GET:
        return response
    body = response.body
    if not max_age_s or response.status != 200 or not isinstance(body, bytes):
        response.headers[hdrs.CACHE_CONTROL] = _FOR_ONE
        return response
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {
        hdrs.CACHE_CONTROL: f"public, max-age={max_age_s}",
        hdrs.ETAG: tag,
        hdrs.VARY: "Accept, Authorization",
    }
    if tag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    response.headers.update(headers)
    return response
