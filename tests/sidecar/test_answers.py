"""What a sidecar says by itself."""

from __future__ import annotations

from topology.edge import errors as edge_errors
from topology.filters import is_grpc
from topology.sidecar.errors import local_replies


def test_calls_that_were_rest_at_the_edge_are_answered_as_grpc_here() -> None:
    """Otherwise their callers, who look for words, found JSON in them."""
    mappers = local_replies("market")["mappers"]
    plain = {"filter": is_grpc(), "body_format_override": edge_errors.AS_IT_IS}
    told = edge_errors.told_to_http()
    assert mappers[mappers.index(plain) + 1 :] == told
    assert not any(one in mappers[: mappers.index(plain)] for one in told)
