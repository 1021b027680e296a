"""Whoever knows one service's README knows where to look in all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"
SECTIONS = ["Owns", "What always holds", "Calls", "Settings", "Runbook"]
NAMES = sorted(path.parent.name for path in SERVICES.glob("*/README.md"))


@pytest.mark.parametrize("service", NAMES)
def test_a_service_tells_the_same_things_in_the_same_order(service: str) -> None:
    headings = re.findall(r"^## (.*)$", (SERVICES / service / "README.md").read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS
    assert headings[0] == "Owns"
