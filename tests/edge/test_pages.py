"""Pages of other origins at REST: those allowed, asked ahead and answered, and nobody else."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from tests.edge.conftest import PAGES, Door
from tests.edge.lone import alone, gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALLOW = "Access-Control-Allow-Origin"
ASKS = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,traceparent",
}


def allowed(headers: CIMultiDictProxy[str], name: str) -> set[str]:
    return {one.strip() for one in headers[f"Access-Control-Allow-{name}"].split(",")}


async def test_a_page_asks_ahead_and_reads_answers_and_refusals(tmp_path: Path) -> None:
    async with (
        gateway([]) as behind,
        alone(tmp_path, gateway=(behind,), allowed_origins=(PAGES,)) as at,
        aiohttp.ClientSession(f"http://{at.http}") as client,
    ):
        async with client.options("/v1/me/withdrawals", headers={"Origin": PAGES, **ASKS}) as answer:
            assert answer.status == 200
            assert answer.headers[ALLOW] == PAGES
            assert {"POST", "GET", "DELETE"} <= allowed(answer.headers, "Methods")
            assert {"authorization", "content-type", "traceparent"} <= allowed(answer.headers, "Headers")
            assert "Access-Control-Allow-Credentials" not in answer.headers
        async with client.get("/v1/blocks/tip", headers={"Origin": PAGES}) as answer:
            # Nobody says here who it is.
            assert answer.status != 200
            assert answer.headers[ALLOW] == PAGES
            assert "retry-after" in answer.headers["Access-Control-Expose-Headers"]
        for origin in ("https://evil.example", "http://pages.example", f"{PAGES}.evil.example", "null"):
            for method in ("OPTIONS", "GET"):
                headers = {"Origin": origin, **ASKS}
                async with client.request(method, "/v1/blocks/tip", headers=headers) as answer:
                    assert ALLOW not in answer.headers
        async with client.get("/openapi.json", headers={"Origin": "https://any.example"}) as answer:
            assert (answer.status, answer.headers[ALLOW]) == (200, "*")


@pytest.mark.parametrize(("origins", "expected"), [((), None), (("*",), "https://any.example")])
async def test_nobody_or_everybody(tmp_path: Path, origins: tuple[str, ...], expected: str | None) -> None:
    async with alone(tmp_path, allowed_origins=origins) as at, aiohttp.ClientSession() as client:
        headers = {"Origin": "https://any.example", **ASKS}
        async with client.options(f"http://{at.http}/v1/blocks/tip", headers=headers) as answer:
            assert answer.headers.get(ALLOW) == expected
            assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_one_setting_is_for_graphql_and_for_rest(door: Door) -> None:
    for method, path, body in (
        ("GET", "/v1/blocks/tip", None),
        ("POST", "/graphql", {"query": "{ __typename }"}),
    ):
        status, headers, _ = await door.ask(method, path, json=body, headers={"Origin": PAGES})
        assert (status, headers.getall(ALLOW)) == (200, [PAGES])
