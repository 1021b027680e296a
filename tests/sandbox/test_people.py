"""The demo's people come again once their sessions have ended."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sandbox.people import Person
from tests.edge.lone import serving

SESSION = {"accessToken": "new", "user": {"id": "1", "displayName": "Vera", "roles": ["USER"]}}
ANSWERS: dict[str, Any] = {
    "Challenge": {"createChallenge": {"id": "1", "message": "sign this"}},
    "LogIn": {"logIn": SESSION},
}


async def test_whose_session_has_ended_logs_in_as_a_stranger() -> None:
    shown: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append(request.headers.get("Authorization"))
        operation = (await request.json())["query"].split()[1].partition("(")[0]
        return web.json_response({"data": ANSWERS[operation]})

    async with serving(web.post("/graphql", answer)) as place:
        vera = Person.of("Vera", f"http://{place}", seed="test")
        vera.client.access_token = "ended"
        await vera.log_in()
        assert shown == [None, None]
        assert vera.client.access_token == "new"
        await vera.client.close()
