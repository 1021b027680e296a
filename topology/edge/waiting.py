"""Where requests wait that have reached no service, as nobody leads at this moment, until somebody does.

Envoy gives up at once where nobody is well. So whom a request is for has a second place, always well: a
listener within this Envoy. From there the same instances are called again and again, with nothing but a pause
in between: the answer of a listener behind it, which says after a while that nobody was reached. What waits
is bounded by a number, by the deadline of each request, and by its client, with whom it ends.
"""

from __future__ import annotations

from google.rpc import code_pb2

from mesh.status import DETAILS_KEY, UNSENT_KEY
from topology.edge.errors import DOMAIN, IN_A_SECOND
from topology.edge.places import Places
from topology.envoy import Json, headers_to_add, http_filter, inner_listener, seconds, typed
from topology.filters import expression
from topology.parts import PARTS, SERVICES, Instances
from topology.statuses import details
from topology.upstreams import FINAL_KEY, HTTP2, inner_cluster, one_after_the_other, retries

ROOM, NOBODY = "waiting", "nobody"
# Between two looks, and how long before its deadline a request is told that nobody leads.
PAUSE_S, AHEAD_S = 0.25, 0.25
# More than any deadline lasts.
_RETRIES = 1_000
_LATE = expression("response.code_details == 'max_duration_timeout'")
_TOLD = "nobody does this at the moment; try again"

LEADERS = tuple(name for name in SERVICES if PARTS[name].instances is Instances.LEADER)


def patient(service: str) -> str:
    """The cluster of a service of which one instance leads: that one, or the room."""
    return f"{service}:patient"


def _room(service: str) -> str:
    """The cluster of those who wait for it, each counted apart: who waits for one takes no other's place."""
    return f"{service}:{ROOM}"


def _anew(service: str) -> str:
    """The same for who waits in the room: the one that leads, or nobody."""
    return f"{service}:anew"


def waiting_clusters(places: Places) -> list[Json]:
    """Of room and nobody, and of both kinds for each service that has a leader."""
    most = places.limits.waiting
    found = [inner_cluster(NOBODY, NOBODY, http=HTTP2, calls=most * len(LEADERS))]
    for name in LEADERS:
        found.append(inner_cluster(_room(name), ROOM, http=HTTP2, calls=most))
        found.append(one_after_the_other(patient(name), (name, _room(name)), retries=most))
        found.append(one_after_the_other(_anew(name), (name, NOBODY), retries=most))
    return found


def waiting_listeners() -> list[Json]:
    """Room and nobody."""
    routes = [_again(name) for name in LEADERS]
    pause = {"fixed_delay": seconds(PAUSE_S), "percentage": {"numerator": 100}}
    fault = http_filter("envoy.filters.http.fault", "fault.v3.HTTPFault", delay=pause)
    refusal = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 503},
        **_to_answer({UNSENT_KEY: "1"}),
    }
    return [
        inner_listener(ROOM, _manager(ROOM, routes) | {"local_reply_config": _at_the_deadline()}),
        inner_listener(NOBODY, _manager(NOBODY, [refusal], fault)),
    ]


def _again(service: str) -> Json:
    """As often as time allows, where nobody has begun."""
    duration = {"grpc_timeout_header_max": "0s", "grpc_timeout_header_offset": seconds(AHEAD_S)}
    again = retries(repeatable=False) | {
        "num_retries": _RETRIES,
        "retry_back_off": {"base_interval": "0.01s", "max_interval": seconds(PAUSE_S)},
    }
    route = {
        "cluster": _anew(service),
        "timeout": "0s",
        "idle_timeout": "0s",
        "max_stream_duration": duration,
        "retry_policy": again,
    }
    return {"name": service, "match": {"prefix": f"/{PARTS[service].contract}/"}, "route": route}


def _at_the_deadline() -> Json:
    """`local_reply_config`. Whether somebody has begun meanwhile is not said."""
    code = code_pb2.UNAVAILABLE
    told = details(code, "UNAVAILABLE", _TOLD, domain=DOMAIN)
    said = {"grpc-status": str(code), DETAILS_KEY: told, FINAL_KEY: "true"}
    late = {"filter": _LATE, "body_format_override": {"text_format_source": {"inline_string": _TOLD}}}
    return {"mappers": [late | headers_to_add({**said, **IN_A_SECOND})]}


def _manager(name: str, routes: list[Json], *filters: Json) -> Json:
    return {
        "stat_prefix": name,
        "codec_type": "HTTP2",
        # All of it has been said by those in front.
        "use_remote_address": False,
        "skip_xff_append": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "http_filters": [*filters, http_filter("envoy.filters.http.router", "router.v3.Router")],
        "route_config": {
            "name": name,
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
        },
    }


def _to_answer(own: dict[str, str]) -> Json:
    return {"response_headers_to_add": headers_to_add(own)["headers_to_add"]}


def enters() -> Json:
    """Fields of a retry policy in front: once more, elsewhere than before, which is here."""
    elsewhere = typed(
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", update_frequency=1
    )
    return {
        "num_retries": 1,
        "retry_priority": {"name": "envoy.retry_priorities.previous_priorities", "typed_config": elsewhere},
    }
