"""What the README draws is what the code does."""

from __future__ import annotations

from pathlib import Path

from services.market.domain import states

README = (Path(__file__).parents[2] / "services" / "market" / "README.md").read_text()


def test_the_diagrams_are_the_tables() -> None:
    for diagram in (states.mermaid(states.LISTING), states.mermaid(states.OFFER)):
        assert f"```mermaid\n{diagram}\n```" in README
