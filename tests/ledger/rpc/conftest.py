"""A ledger behind a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.ledger.rpc.house import House, open_house


@pytest.fixture
async def house(valkey_url: str) -> AsyncIterator[House]:
    async with open_house(valkey_url) as house:
        yield house
