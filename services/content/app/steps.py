"""The steps of the pipeline: each takes a meme that this worker has leased, and gives it as it is after.

A step may run again after a crash, so what it does outside is idempotent, with one exception that is bounded:
a job ordered at AITubo in the instant before a crash is not known to us, and a second one is ordered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from mesh.clock import Clock
from mesh.errors import Failure
from services.content.app.claiming import Claiming
from services.content.app.ports import (
    Files,
    Incoming,
    News,
    RenderDone,
    Renderer,
    RenderFailed,
    RenderPending,
    Shelf,
    Titles,
    Workshop,
)
from services.content.app.rendering import CheckOverran, FilmUnusable, OrderRefused, RendererAway
from services.content.domain.films import FilmFacts
from services.content.domain.memes import (
    BY_ADMINISTRATOR,
    IN_PIPELINE,
    QUALITY_TOO_LOW,
    RENDER_FAILED,
    Film,
    Meme,
    MemeState,
    Task,
)
from services.content.domain.values import NEVER, InstantNs, later

FILMS = "films"
POSTERS = "posters"
# The same answer this often in a row is believed.
REFUSALS_MAX = 3

Step = Callable[[Meme], Awaitable[Meme]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often; all from the settings."""

    poll_s: float = 2.0
    render_s_max: float = 600.0
    versions_max: int = 2
    orders_max: int = 3


class Steps:
    """One method per state that has something to be done."""

    def __init__(
        self,
        *,
        renderer: Renderer,
        files: Files,
        incoming: Incoming,
        workshop: Workshop,
        titles: Titles,
        shelf: Shelf,
        claiming: Claiming,
        news: News,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._renderer = renderer
        self._files = files
        self._incoming = incoming
        self._workshop = workshop
        self._titles = titles
        self._shelf = shelf
        self._claiming = claiming
        self._news = news
        self._clock = clock
        self._patience = patience
        # Ends that this process has told of; those of a process that died are told again.
        self._told: set[tuple[str, int]] = set()

    def of(self, state: MemeState) -> Step:
        """The step that a meme in this state is due for."""
        return {
            MemeState.UPLOADED: self._order,
            MemeState.RENDERING: self._follow,
            MemeState.CHECKING: self._check,
            MemeState.TITLING: self._title,
        }.get(state, self._conclude)

    def told(self, meme: Meme) -> None:
        """Remembers that the meme's end was published."""
        if meme.state not in IN_PIPELINE:
            self._told.add((meme.id, len(meme.version.stages)))

    def failed(self, meme: Meme, why: str) -> Meme:
        """The film could not be made: the next version, or the end."""
        if meme.version.number < self._patience.versions_max:
            return meme.started_over(self._now(), f"trying again: {why}")
        return meme.rejected(RENDER_FAILED, self._now(), why)

    def given_up(self, meme: Meme, failure: Failure, failures: int) -> Meme | None:
        """What becomes of a meme when trying again cannot help; None: it may. `failures` in a row so far.

        A key that is refused, an outage, a ledger, chain or file store that is away are waited for, for ever.
        """
        match meme.state, failure:
            case MemeState.UPLOADED | MemeState.RENDERING, OrderRefused() if failures >= REFUSALS_MAX:
                return self.failed(meme, f"AITubo refused: {failure.message}")
            case MemeState.RENDERING, RendererAway() if self._too_old(_task(meme)):
                return self.failed(meme, failure.message)
            case MemeState.CHECKING, CheckOverran() if failures >= REFUSALS_MAX:
                return meme.rejected(QUALITY_TOO_LOW, self._now(), failure.message)
        return None

    def _too_old(self, task: Task) -> bool:
        return later(task.job_since_ns, self._patience.render_s_max) < self._now()

    async def _order(self, meme: Meme) -> Meme:
        task = _task(meme)
        if task.orders > self._patience.orders_max:
            return self.failed(meme, "AITubo took orders, but never told of a job")
        job = await self._renderer.order(meme)
        now = self._now()
        rendering = meme.moved(MemeState.RENDERING, now, "AITubo took the order")
        return rendering.with_task(
            replace(_task(rendering), job=job, job_since_ns=now, due_ns=later(now, self._patience.poll_s))
        )

    async def _follow(self, meme: Meme) -> Meme:
        task, now = _task(meme), self._now()
        match await self._renderer.look(task.job):
            case RenderPending() if self._too_old(task):
                return self.failed(meme, f"no film within {self._patience.render_s_max:.0f} s")
            case RenderPending():
                waiting = replace(task, due_ns=later(now, self._patience.poll_s), failures=0)
                return meme.with_task(replace(waiting, leased_until_ns=NEVER))
            case RenderFailed(why):
                return self.failed(meme, f"AITubo failed: {why}")
            case RenderDone(url):
                return await self._keep_film(meme, url)

    async def _keep_film(self, meme: Meme, url: str) -> Meme:
        async with self._incoming.room() as room:
            try:
                received = await self._renderer.download(url, room / "film.mp4")
            except FilmUnusable as unusable:
                return self.failed(meme, unusable.message)
            await self._files.put(FILMS, received.sha256, received.path)
        film = Film(received.sha256, received.size_bytes)
        return meme.moved(
            MemeState.CHECKING, self._now(), f"film of {received.size_bytes} bytes received", film=film
        )

    async def _check(self, meme: Meme) -> Meme:
        film = _film(meme)
        async with self._incoming.room() as room:
            path, poster = room / "film.mp4", room / "poster.jpg"
            await self._files.fetch(FILMS, film.sha256, path)
            facts = await self._workshop.measure_film(path, poster)
            film = replace(film, facts=facts)
            if facts.problems:
                return meme.rejected(QUALITY_TOO_LOW, self._now(), "; ".join(facts.problems), film=film)
            sha256, size_bytes = await self._incoming.digest(poster)
            await self._files.put(POSTERS, sha256, poster)
        film = replace(film, poster_sha256=sha256, poster_bytes=size_bytes)
        return meme.moved(MemeState.TITLING, self._now(), _measured(facts), film=film)

    async def _title(self, meme: Meme) -> Meme:
        film = _film(meme)
        poster_sha256 = film.poster_sha256
        if poster_sha256 is None:
            raise RuntimeError(f"meme {meme.id} is being titled without a poster")
        await self._titles.issue(meme)
        pieces = [piece async for piece in self._files.read(POSTERS, poster_sha256, 0, film.poster_bytes)]
        await self._titles.inscribe(meme, film.sha256, b"".join(pieces))
        now = self._now()
        published = replace(
            meme.moved(MemeState.PUBLISHED, now, "title issued and inscribed"), published_ns=now
        )
        # Before the record: what is on the shelf without being published is left out by whoever reads it.
        await self._shelf.add(published)
        return published

    async def _conclude(self, meme: Meme) -> Meme:
        if (meme.id, len(meme.version.stages)) not in self._told:
            self._news.tell(meme, meme.last_stage)
        if meme.state is MemeState.REJECTED and meme.reason != BY_ADMINISTRATOR:
            await self._claiming.release(meme.id)
        if meme.state is MemeState.TAKEN_DOWN:
            await self._shelf.remove(meme)
        self._told.discard((meme.id, len(meme.version.stages)))
        return meme.with_task(None)

    def _now(self) -> InstantNs:
        return InstantNs(self._clock.now_ns())


def _task(meme: Meme) -> Task:
    if meme.task is None:
        raise RuntimeError(f"meme {meme.id} has no task")
    return meme.task


def _film(meme: Meme) -> Film:
    if meme.film is None:
        raise RuntimeError(f"meme {meme.id} has lost its film")
    return meme.film


def _measured(facts: FilmFacts) -> str:
    return (
        f"quality {facts.quality_ppm / 1e6:.3f}: {facts.frames} frames at {facts.frame_rate:.2f}/s, "
        f"timing {facts.timing_regularity:.3f}, smoothness {facts.motion_smoothness:.3f}"
    )
