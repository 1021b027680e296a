"""A meme on its way from picture to published film: states, stages, versions. All changes give a new value.

A version is one attempt to make the film; what a version holds is only ever added to. When AITubo cannot make
the film, the meme starts over as a new version.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.content.domain.failures import StateConflict
from services.content.domain.films import FilmFacts
from services.content.domain.pictures import Picture
from services.content.domain.values import NEVER, InstantNs, MemeId, Sha256, UserId, later

BY_ADMINISTRATOR = "BY_ADMINISTRATOR"
RENDER_FAILED = "RENDER_FAILED"
QUALITY_TOO_LOW = "QUALITY_TOO_LOW"
DETAIL_CHARS_MAX = 500
CONCLUDE_AFTER_S = 2.0


class MemeState(StrEnum):
    """Where a meme stands."""

    UPLOADED = "UPLOADED"
    RENDERING = "RENDERING"
    CHECKING = "CHECKING"
    TITLING = "TITLING"
    PUBLISHED = "PUBLISHED"
    REJECTED = "REJECTED"
    TAKEN_DOWN = "TAKEN_DOWN"


TRANSITIONS: dict[MemeState, frozenset[MemeState]] = {
    MemeState.UPLOADED: frozenset({MemeState.RENDERING, MemeState.REJECTED}),
    MemeState.RENDERING: frozenset({MemeState.UPLOADED, MemeState.CHECKING, MemeState.REJECTED}),
    MemeState.CHECKING: frozenset({MemeState.TITLING, MemeState.REJECTED}),
    MemeState.TITLING: frozenset({MemeState.PUBLISHED, MemeState.REJECTED}),
    MemeState.PUBLISHED: frozenset({MemeState.TAKEN_DOWN}),
    MemeState.REJECTED: frozenset(),
    MemeState.TAKEN_DOWN: frozenset(),
}
IN_PIPELINE = frozenset({MemeState.UPLOADED, MemeState.RENDERING, MemeState.CHECKING, MemeState.TITLING})
PROGRESS_PERCENT = {
    MemeState.UPLOADED: 10,
    MemeState.RENDERING: 25,
    MemeState.CHECKING: 70,
    MemeState.TITLING: 85,
    MemeState.PUBLISHED: 100,
    MemeState.REJECTED: 100,
    MemeState.TAKEN_DOWN: 100,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the pipeline, as recorded: the state it led to, and what happened. Never a secret."""

    state: MemeState
    at_ns: InstantNs
    detail: str

    @property
    def progress(self) -> float:
        """0..1 of the whole pipeline."""
        return PROGRESS_PERCENT[self.state] / 100


@dataclass(frozen=True, slots=True)
class Film:
    """A film in our own storage. `poster` and `facts` are known once it was checked."""

    sha256: Sha256
    size_bytes: int
    poster_sha256: Sha256 | None = None
    poster_bytes: int = 0
    facts: FilmFacts | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One attempt."""

    number: int
    picture: Picture
    created_ns: InstantNs
    stages: tuple[Stage, ...]
    film: Film | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What background work knows of the meme: when it is due, who has it until when, how often it failed.

    `leased_by` is the instance of content that has it, `job` AITubo's secret name of the render job. `orders`
    counts the jobs ordered for this version, those whose fate is unknown included.
    """

    due_ns: InstantNs
    leased_until_ns: InstantNs = NEVER
    leased_by: str = ""
    failures: int = 0
    job: str = field(default="", repr=False)
    job_since_ns: InstantNs = NEVER
    orders: int = 0


@dataclass(frozen=True, slots=True)
class Meme:
    """A meme as it stands. `task` is None once nothing is left to do in the background."""

    id: MemeId
    name: str
    creator_id: UserId
    state: MemeState
    versions: tuple[Version, ...]
    created_ns: InstantNs
    task: Task | None
    reason: str = ""
    reason_detail: str = ""
    published_ns: InstantNs = NEVER

    @property
    def version(self) -> Version:
        """The current one."""
        return self.versions[-1]

    @property
    def film(self) -> Film | None:
        """Of the current version."""
        return self.version.film

    @property
    def facts(self) -> FilmFacts | None:
        """What was measured of the current version's film."""
        return self.film.facts if self.film else None

    @property
    def last_stage(self) -> Stage:
        """What happened last."""
        return self.version.stages[-1]

    def moved(self, state: MemeState, at_ns: InstantNs, detail: str, *, film: Film | None = None) -> Meme:
        """The meme one state further, its step done and the next one due at once. Raises StateConflict."""
        if state not in TRANSITIONS[self.state]:
            raise StateConflict(f"a meme does not go from {self.state} to {state}", state=self.state)
        stage = Stage(state, at_ns, detail[:DETAIL_CHARS_MAX])
        version = replace(self.version, stages=(*self.version.stages, stage), film=film or self.film)
        # An end is concluded a little later, when its event is out.
        due_ns = at_ns if state in IN_PIPELINE else later(at_ns, CONCLUDE_AFTER_S)
        task = replace(self.task or Task(at_ns), due_ns=due_ns, leased_until_ns=NEVER, failures=0)
        return replace(self, state=state, versions=(*self.versions[:-1], version), task=task)

    def rejected(self, reason: str, at_ns: InstantNs, detail: str, *, film: Film | None = None) -> Meme:
        """The end of it, before publication. Raises StateConflict."""
        detail = detail[:DETAIL_CHARS_MAX]
        moved = self.moved(MemeState.REJECTED, at_ns, f"{reason}: {detail}", film=film)
        return replace(moved, reason=reason, reason_detail=detail)

    def taken_down(self, at_ns: InstantNs, detail: str) -> Meme:
        """The end of it, after publication. Raises StateConflict."""
        detail = detail[:DETAIL_CHARS_MAX]
        moved = self.moved(MemeState.TAKEN_DOWN, at_ns, f"{BY_ADMINISTRATOR}: {detail}")
        return replace(moved, reason=BY_ADMINISTRATOR, reason_detail=detail)

    def started_over(self, at_ns: InstantNs, detail: str) -> Meme:
        """The same picture as a new version, after AITubo could not make the film."""
        first = Stage(MemeState.UPLOADED, at_ns, detail[:DETAIL_CHARS_MAX])
        version = Version(self.version.number + 1, self.version.picture, at_ns, (first,))
        return replace(self, state=MemeState.UPLOADED, versions=(*self.versions, version), task=Task(at_ns))

    def with_task(self, task: Task | None) -> Meme:
        """The same meme with other background work."""
        return replace(self, task=task)


def new_meme(meme_id: MemeId, *, name: str, creator_id: UserId, picture: Picture, at_ns: InstantNs) -> Meme:
    """A meme whose picture was accepted."""
    stage = Stage(MemeState.UPLOADED, at_ns, f"{picture.width}x{picture.height} {picture.mime} accepted")
    return Meme(
        meme_id,
        name,
        creator_id,
        MemeState.UPLOADED,
        (Version(1, picture, at_ns, (stage,)),),
        at_ns,
        Task(at_ns),
    )
