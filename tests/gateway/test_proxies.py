"""Whom the gateway takes for the client: only what proxies of ours say of it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.world import opened

QUERY = 'mutation { createChallenge(address: "1BoatSLRHtKNngkdXEeobR76b53LETtpyT") { message } }'
HERE, CLIENT, PROXY, LIE = "127.0.0.1", "203.0.113.7", "198.51.100.1", "192.0.2.66"


@pytest.mark.parametrize(
    ("trusted", "headers", "expected"),
    [
        (0, [LIE], HERE),
        (0, [f"{LIE}, {CLIENT}"], HERE),
        (1, [CLIENT], CLIENT),
        (1, [f"{LIE}, {LIE},{CLIENT} "], CLIENT),
        (1, [LIE, CLIENT], CLIENT),
        (1, ["2001:DB8::0:1"], "2001:db8::1"),
        (1, [], HERE),
        (1, [""], HERE),
        (1, [f"{LIE}, unknown"], HERE),
        (2, [f"{LIE}, {CLIENT}, {PROXY}"], CLIENT),
        # It came to the nearer of two proxies directly.
        (2, [CLIENT], CLIENT),
    ],
)
async def test_the_client_is_who_our_farthest_proxy_was_called_by(
    trusted: int, headers: list[str], expected: str, tmp_path: Path
) -> None:
    async with opened(tmp_path, trusted_proxies=trusted) as world:
        given = [("X-Forwarded-For", header) for header in headers]
        answer = await world.client.send("POST", json={"query": QUERY}, headers=given)
        assert "errors" not in answer.json
        (call,) = world.log.of("CreateChallenge")
        assert call.request.client_address == expected
