"""What the README draws and lists is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.config import variable_name
from services.chain.config import ChainSettings
from services.chain.domain import states

SERVICE = Path(__file__).parents[2] / "services" / "chain"
README = (SERVICE / "README.md").read_text()
CODE = "\n".join(path.read_text() for path in sorted(SERVICE.rglob("*.py")))
METRIC = r"`(chain\.[a-z_.]+)"


@pytest.mark.parametrize("table", [states.TX, states.DEPOSIT, states.WITHDRAWAL, states.COIN])
def test_the_diagrams_are_the_transition_tables(table: states.Table[states.TxState]) -> None:
    assert f"```mermaid\n{states.mermaid(table)}\n```" in README


def test_all_own_settings_are_listed_with_their_defaults() -> None:
    for name, field in ChainSettings.model_fields.items():
        variable = variable_name(ChainSettings, name)
        if variable.startswith("SATREEL_CHAIN_"):
            assert f"| `{variable}` | `{field.default}` | {field.description} |" in README


def test_the_production_profile_is_one_that_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    [profile] = re.findall(r"```\n(SATREEL_CHAIN_NETWORK=main\n.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip().partition("=") for line in profile.splitlines()]
    known = {variable_name(ChainSettings, name) for name in ChainSettings.model_fields}
    for variable, _, value in lines:
        assert variable in known
        monkeypatch.setenv(variable, value.replace("<edge>", "edge.example"))
    settings = ChainSettings()
    assert (settings.network, settings.node_address) == ("main", "")
    assert settings.rules.stale_s == 120


def test_what_alarms_and_runbook_name_is_measured_and_logged() -> None:
    for metric in re.findall(METRIC, README):
        assert f'"{metric}"' in CODE, metric
    alarms = README.split("## Alarms")[1].split("## Runbook")[0]
    rows = [row.split("|")[1:-1] for row in alarms.splitlines() if row.startswith(("| `", "| |"))]
    assert len(rows) > 10
    for row in rows:
        words = row[2].strip().strip("`")
        assert f'"{words}' in CODE, words
        assert "page" in row[3] or "ticket" in row[3]


def test_every_critical_line_and_every_gauge_of_trouble_has_an_alarm() -> None:
    alarms = README.split("## Alarms")[1].split("## Runbook")[0]
    critical = re.findall(r'log\.critical\(\s*"([^"]+)"', CODE)
    assert critical
    for words in critical:
        assert f"`{words}`" in alarms, words
