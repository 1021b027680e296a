"""A whole mesh with two replicas of everything behind sidecars, and users."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.launcher import running
from sandbox.people import Person
from sandbox.report import Report
from sandbox.settings import elsewhere
from sandbox.town import Town
from tests.conftest import PATIENT

ROUND_S = 45.0
FLOATS = 3
# Those who pay get so much.
MONEY_SATS = 40_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Everybody is logged in, and who pays has money."""
    folder: Path = tmp_path_factory.mktemp("replicas")
    report, seed = Report(colours=False), secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    # Here all is as it is where it serves.
    for name in PATIENT:
        os.environ.pop(name, None)
    settings = elsewhere(folder, replicas=2, sidecars=True, round_s=ROUND_S, grace_s=2.0, film_s=1.0)
    async with running(settings, admin_addresses=[admin.wallet.address], progress=report.step) as house:
        town = Town.of(house, report, seed=seed)
        await town.log_in()
        for _ in range(FLOATS):
            await town.fund_float()
        paying = [*town.viewers, town.creators[1]]
        for person in paying:
            await person.deposit(MONEY_SATS, house.chain)
        await house.chain.mine()
        await asyncio.gather(*(person.until_balance(MONEY_SATS, 60) for person in paying))
        yield town
        await town.close()
