"""Which web pages beside our own may use REST: CORS, as the gateway has it for GraphQL.

There are no cookies, so credentials are never allowed: a page brings the access token itself.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from typing import Final

from topology.edge.places import Places
from topology.envoy import Json, typed

# Name of the filter, and of what routes say to it.
CORS: Final = "envoy.filters.http.cors"
_METHODS = "GET, POST, PUT, PATCH, DELETE"
# What REST reads; a trace goes on that a page began.
_HEADERS = "authorization, content-type, traceparent, tracestate"
_EXPOSED = "ratelimit, ratelimit-policy, retry-after, www-authenticate"
# Browsers ask at most once in two hours, whatever is said here.
_ASKED_AGAIN_S = "7200"


def for_pages(places: Places) -> Json:
    """Of a route's `typed_per_filter_config`: what pages of other origins may do there."""
    if not places.allowed_origins:
        return {}
    return {
        CORS: typed(
            "envoy.extensions.filters.http.cors.v3.CorsPolicy",
            allow_origin_string_match=[_match(origin) for origin in places.allowed_origins],
            allow_methods=_METHODS,
            allow_headers=_HEADERS,
            expose_headers=_EXPOSED,
            max_age=_ASKED_AGAIN_S,
            allow_credentials=False,
            # What other origins ask ahead is answered here, not by a service.
            forward_not_matching_preflights=False,
        )
    }


def _match(origin: str) -> Json:
    if origin == "*":
        return {"safe_regex": {"regex": ".*"}}
    return {"exact": origin, "ignore_case": True}
