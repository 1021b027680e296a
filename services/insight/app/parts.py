"""Insight's parts, and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.clock import Clock
from services.insight.app.leading import Leading
from services.insight.app.listening import Listening
from services.insight.app.live import Live
from services.insight.app.ports import Facts, Source
from services.insight.app.service import Insight
from services.insight.app.tallies import Tallies


@dataclass(frozen=True, slots=True)
class World:
    """What insight stands on."""

    sources: Sequence[Source]
    facts: Facts
    clock: Clock


class Parts:
    """Everything that works in insight, wired."""

    def __init__(self, world: World) -> None:
        facts, clock = world.facts, world.clock
        self.tallies = Tallies(facts, clock)
        self.listening = Listening(sources=world.sources, facts=facts, tallies=self.tallies, clock=clock)
        self.insight = Insight(facts=facts, tallies=self.tallies, listening=self.listening, clock=clock)
        self.live = Live(self.insight, clock)
        self.leading = Leading(tallies=self.tallies, listening=self.listening, live=self.live)
