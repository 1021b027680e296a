"""What the README lists is what the code says."""

from __future__ import annotations

from pathlib import Path

from mesh.config import variable_name
from services.insight.config import InsightSettings
from services.insight.domain.metrics import METRICS, table

README = (Path(__file__).parents[2] / "services" / "insight" / "README.md").read_text()


def test_the_catalogue_is_that_of_the_code() -> None:
    assert table() in README


def test_names_are_unique_and_described() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.description and metric.unit and metric.source for metric in METRICS)


def test_settings_are_listed() -> None:
    default = InsightSettings.model_fields["listen"].default
    assert f"| `{variable_name(InsightSettings, 'listen')}` | `{default}` |" in README
