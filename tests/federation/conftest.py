"""The npm packages are there before the first test."""

from __future__ import annotations

import pytest

from tests.federation.serving import FOLDER
from tools.npm import INSTALL_S_MAX, install


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/federation" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(INSTALL_S_MAX + 60))


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    install(FOLDER)
