"""The npm packages are there before the first test."""

from __future__ import annotations

import pytest

from tests.federation.serving import FOLDER
from tools.npm import install


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    install(FOLDER)
