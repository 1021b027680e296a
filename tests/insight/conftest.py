"""A store of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.insight.adapters.records import SETS


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_sqlite(tmp_path / "insight.sqlite", SETS) as opened:
        yield opened
