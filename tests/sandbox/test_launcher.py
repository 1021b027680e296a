"""What the launcher tells the parts of the mesh."""

from __future__ import annotations

from sandbox import surroundings


def test_who_stands_on_redis_is_told_where_it_is() -> None:
    # Limits, ended log-ins, documents by name and viewings of the gateway are there too.
    assert {"gateway", "ledger", "identity"} <= set(surroundings.WITH_REDIS)
    assert "insight" not in surroundings.WITH_REDIS
