"""Content negotiation: in what form a client wants its answer (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from aiohttp import hdrs, web

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/mixed"
HTML = "text/html"

# The form of incremental delivery that graphql-core speaks, by the name that clients have for it.
INCREMENTAL_SPEC = "v0.2"
_RANGES_MAX = 32


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header: lower case, its weight from 0 to 1."""

    name: str
    weight: float = 1.0
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parsed(cls, text: str) -> Self:
        """An unreadable weight counts as 0."""
        name, *rest = text.split(";")
        pairs = (one.partition("=") for one in rest)
        parameters = {key.strip().lower(): value.strip(' \t"') for key, _, value in pairs}
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            weight = 0.0
        return cls(name.strip().lower(), weight if 0 <= weight <= 1 else 0.0, parameters)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client takes. `json` is the media type of a plain answer, or None when it takes none."""

    json: str | None
    event_stream: bool = False
    incremental: bool = False
    html: bool = False


def wanted(request: web.BaseRequest) -> Wanted:
    """What the Accept headers ask for. One that is missing, or takes anything, gets application/json."""
    return _wanted(",".join(request.headers.getall(hdrs.ACCEPT, ())))


@lru_cache(maxsize=256)
def _wanted(header: str) -> Wanted:
    ranges = [MediaRange.parsed(one) for one in header.split(",")[:_RANGES_MAX] if one.strip()]
    weights: dict[str, float] = {}
    for one in ranges:
        weights[one.name] = max(one.weight, weights.get(one.name, 0.0))
    json = _json(weights) if ranges else (JSON, 1.0)
    return Wanted(
        json=json[0] if json else None,
        # Clients that take everything list it as well: then a plain answer is the simpler one.
        event_stream=weights.get(EVENT_STREAM, 0.0) > (json[1] if json else 0.0),
        incremental=any(one.name == MULTIPART and one.weight and _is_ours(one) for one in ranges),
        html=weights.get(HTML, 0.0) > 0,
    )


def _json(weights: dict[str, float]) -> tuple[str, float] | None:
    """The better of the two JSON types with its weight; at equal weights the one that tells more."""
    anything = weights.get("application/*", weights.get("*/*", 0.0))
    offers = ((GRAPHQL_RESPONSE, weights.get(GRAPHQL_RESPONSE, 0.0)), (JSON, weights.get(JSON, anything)))
    best = max(offers, key=lambda offer: offer[1])
    return best if best[1] else None


def _is_ours(multipart: MediaRange) -> bool:
    """Not an older form of incremental delivery, nor subscriptions over multipart."""
    if not multipart.parameters.keys() & {"deferspec", "subscriptionspec"}:
        return multipart.parameters.get("incrementalspec", INCREMENTAL_SPEC) == INCREMENTAL_SPEC
    return False
