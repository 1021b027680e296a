"""What the registry says of Envoy's metrics is what a real Envoy tells."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp

from tests.edge.lone import alone, gateway
from tools.envoy_metrics import ENVOY_METRICS


async def test_metrics_asked_for_are_told_with_their_kinds_and_labels(tmp_path: Path) -> None:
    async with (
        gateway([]) as behind,
        alone(tmp_path, gateway=(behind,)) as at,
        aiohttp.ClientSession() as client,
    ):
        async with client.post(f"http://{at.http}/graphql") as answer:
            assert answer.status == 200
        async with client.get(f"http://{at.admin}/stats/prometheus") as answer:
            told = await answer.text()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", told, re.MULTILINE))
    assert {one.name: kinds.get(one.name) for one in ENVOY_METRICS} == {
        one.name: one.kind for one in ENVOY_METRICS
    }
    for one in ENVOY_METRICS:
        first = re.search(rf"^{one.name}(_bucket)?\{{(.*?)\}} ", told, re.MULTILINE)
        assert first is not None, one.name
        assert set(one.by) <= set(re.findall(r"(\w+)=", first[2])), one.name
