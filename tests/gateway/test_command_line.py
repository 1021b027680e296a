"""`python -m graphql_gateway` as somebody types it."""

from __future__ import annotations

import runpy
import sys

import pytest
from aiohttp import web

from graphql_gateway import process
from graphql_gateway.config import GatewaySettings
from graphql_gateway.schema import DOMAINS


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Gives the exit code."""
    monkeypatch.setattr(sys, "argv", ["graphql_gateway", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("graphql_gateway", run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_help_tells_arguments_and_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    assert not typed(monkeypatch, asked)
    told = capsys.readouterr().out
    assert "--only" in told
    assert "SATREEL_GATEWAY_HTTP_LISTEN" in told
    assert "--place" not in told
    assert all(domain.name in told for domain in DOMAINS)


def test_a_domain_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "--only", "markets") == 2
    assert "market" in capsys.readouterr().err


async def test_an_address_may_be_one_of_ipv6() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await process.site_of(runner, GatewaySettings(http_listen="[::1]:0"), None).start()
        assert runner.addresses[0][0] == "::1"
    finally:
        await runner.cleanup()


def test_gateways_of_one_machine_are_told_apart_by_where_clients_call_them() -> None:
    assert GatewaySettings(http_listen="127.0.0.1:8081").address == "127.0.0.1:8081"
