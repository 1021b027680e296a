"""The page of REST in a real browser, without any network but the edge."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sandbox.instances import PAGE_FILES
from tests.client.browser import CHROMIUM
from tests.edge.lone import alone
from topology import edge

FILES = next(PAGE_FILES.glob("swagger-ui-dist@*"), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.skipif(FILES is None, reason="`make setup` could not fetch Swagger UI")
async def test_a_browser_shows_what_rest_can_do(tmp_path: Path) -> None:
    async with alone(tmp_path, pages=FILES) as places:
        browser = await asyncio.create_subprocess_exec(
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *(f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=15000", "--dump-dom"),
            *("--enable-logging=stderr", f"http://{places.http}/docs"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(browser.communicate(), 150)
    document = out.decode()
    assert "/v1/listings/" in document, err.decode()[-2000:]
    assert document.count('class="opblock ') > 5 or 'id="operations-tag-market"' in document
    assert "Content Security Policy" not in err.decode()
    # Locks are there where a token may be sent, and none is closed before there is one.
    paths = json.loads(edge.OPENAPI.read_text())["paths"].values()
    locked = [one for verbs in paths for one in verbs.values() if one["security"]]
    assert document.count('class="authorization__btn"') == len(locked)
    assert document.count('aria-label="authorization button unlocked"') == len(locked)
