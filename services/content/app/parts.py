"""Content's parts, and how they hang together: each is made when it is first asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from mesh.clock import Clock
from services.content.app.claiming import Claiming
from services.content.app.moderating import Moderating
from services.content.app.pipeline import Pipeline
from services.content.app.ports import (
    Claims,
    Creators,
    Files,
    Incoming,
    Memes,
    News,
    Queue,
    Renderer,
    Shelf,
    Titles,
    Workshop,
)
from services.content.app.reading import Reading
from services.content.app.steps import Patience, Steps
from services.content.app.uploading import Uploading


@dataclass(frozen=True, slots=True)
class World:
    """What content stands on. `chance` spreads retries."""

    memes: Memes
    claims: Claims
    shelf: Shelf
    files: Files
    incoming: Incoming
    workshop: Workshop
    renderer: Renderer
    creators: Creators
    titles: Titles
    queue: Queue
    news: News
    clock: Clock
    chance: random.Random
    new_token: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Rules:
    """How it behaves: `instance` is this process's name, `step_s_max` the longest that a step may take."""

    instance: str
    step_s_max: float
    patience: Patience


class Parts:
    """Everything that works in content, wired."""

    def __init__(self, world: World, rules: Rules) -> None:
        self.world = world
        self.rules = rules

    @cached_property
    def uploading(self) -> Uploading:
        """Pictures, taken in."""
        return Uploading(
            memes=self.world.memes,
            claiming=self.claiming,
            files=self.world.files,
            incoming=self.world.incoming,
            workshop=self.world.workshop,
            creators=self.world.creators,
            queue=self.world.queue,
            news=self.world.news,
            clock=self.world.clock,
        )

    @cached_property
    def claiming(self) -> Claiming:
        """One picture, one meme."""
        return Claiming(
            claims=self.world.claims,
            memes=self.world.memes,
            clock=self.world.clock,
            new_token=self.world.new_token,
        )

    @cached_property
    def pipeline(self) -> Pipeline:
        """From pictures to films."""
        return Pipeline(
            memes=self.world.memes,
            steps=self.steps,
            queue=self.world.queue,
            news=self.world.news,
            clock=self.world.clock,
            step_s_max=self.rules.step_s_max,
            instance=self.rules.instance,
            chance=self.world.chance,
        )

    @cached_property
    def steps(self) -> Steps:
        """What the pipeline does to a meme."""
        return Steps(
            renderer=self.world.renderer,
            files=self.world.files,
            incoming=self.world.incoming,
            workshop=self.world.workshop,
            titles=self.world.titles,
            shelf=self.world.shelf,
            claiming=self.claiming,
            news=self.world.news,
            clock=self.world.clock,
            patience=self.rules.patience,
        )

    @cached_property
    def moderating(self) -> Moderating:
        """What administrators decide."""
        return Moderating(memes=self.world.memes, pipeline=self.pipeline, clock=self.world.clock)

    @cached_property
    def reading(self) -> Reading:
        """What others may see."""
        return Reading(memes=self.world.memes, shelf=self.world.shelf, files=self.world.files)
