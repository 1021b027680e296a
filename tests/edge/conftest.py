"""A whole mesh with the real Envoy at its door."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sandbox.launcher import House, running
from sandbox.people import Person
from sandbox.settings import SandboxSettings, elsewhere

# Whose pages may use GraphQL and REST.
PAGES = "https://pages.example"


@dataclass(frozen=True, slots=True)
class Door:
    """The edge of a running mesh, somebody who is signed in, and a client that is nobody."""

    house: House
    user: Person
    client: aiohttp.ClientSession
    # Of everybody's wallets; the administrator is "Admin".
    seed: str

    async def ask(self, method: str, path: str, *, token: str = "", **more: Any) -> tuple[int, Any, Any]:
        """Status, headers and JSON of a request in clear."""
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        url = self.house.url + path
        async with self.client.request(method, url, headers=headers, **more) as response:
            return response.status, response.headers, await response.json()

    @property
    def user_id(self) -> str:
        """As services call the user: without GraphQL's type."""
        return base64.b64decode(self.user.user_id).decode().removeprefix("User:")

    def tls(self, part: str | None = None) -> ssl.SSLContext:
        """As a client that believes the mesh's authority, with a part's certificate or none."""
        context = ssl.create_default_context(cafile=str(self.house.tls_dir / "ca.pem"))
        if part:
            context.load_cert_chain(self.house.tls_dir / f"{part}.pem", self.house.tls_dir / f"{part}.key")
        return context


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    seed = secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    settings = elsewhere(tmp_path_factory.mktemp("edge"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SATREEL_GATEWAY_ALLOWED_ORIGINS", json.dumps([PAGES]))
        async with opened(settings, admin, seed) as door:
            yield door


@asynccontextmanager
async def opened(settings: SandboxSettings, admin: Person, seed: str) -> AsyncIterator[Door]:
    """The mesh for the length of the block, and somebody in it."""
    async with running(settings, admin_addresses=[admin.wallet.address], progress=print) as house:
        user = Person.of("Ute", house.url, seed=seed)
        await user.log_in()
        async with aiohttp.ClientSession() as client:
            yield Door(house, user, client, seed)
        await user.client.close()
