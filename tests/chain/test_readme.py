"""What the README draws and lists is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.config import variable_name
from services.chain.config import ChainSettings
from services.chain.domain import states

README = (Path(__file__).parents[2] / "services" / "chain" / "README.md").read_text()


@pytest.mark.parametrize("table", [states.TX, states.DEPOSIT, states.WITHDRAWAL, states.COIN])
def test_the_diagrams_are_the_transition_tables(table: states.Table[states.TxState]) -> None:
    assert f"```mermaid\n{states.mermaid(table)}\n```" in README


def test_all_own_settings_are_listed_with_their_defaults() -> None:
    for name, field in ChainSettings.model_fields.items():
        variable = variable_name(ChainSettings, name)
        if variable.startswith("SATREEL_CHAIN_"):
            assert f"| `{variable}` | `{field.default}` | {field.description} |" in README
