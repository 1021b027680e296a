"""What the launcher tells the parts of the mesh."""

from __future__ import annotations

from sandbox import surroundings
from topology.parts import SERVICES


def test_who_stands_on_redis_is_told_where_it_is() -> None:
    # Limits, ended log-ins, documents by name and viewings of the gateway are there too.
    # So is what all need who believe users' tokens: which log-ins have ended.
    assert {*SERVICES, "gateway"} == set(surroundings.WITH_REDIS)
