"""What the README draws and lists is what the code says."""

from __future__ import annotations

from pathlib import Path

from mesh.config import variable_name
from services.rounds.config import RoundsSettings
from services.rounds.domain.diagram import mermaid

README = (Path(__file__).parents[2] / "services" / "rounds" / "README.md").read_text()


def test_the_diagram_is_the_transition_table() -> None:
    assert f"```mermaid\n{mermaid()}\n```" in README


def test_all_own_settings_are_listed_with_their_defaults() -> None:
    for name in ("listen", "length_s", "grace_s", "gap_s", "board_interval_s"):
        default = RoundsSettings.model_fields[name].default
        assert f"| `{variable_name(RoundsSettings, name)}` | `{default}` |" in README
