"""Content's use cases over a real store and real files, with fakes for the rest; can die at any point."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from mesh.clock import ManualClock
from mesh.errors import Failure
from mesh.ids import uuid7
from mesh.records import Store
from mesh.records.sqlite import open_sqlite
from services.content.adapters.files import open_files
from services.content.adapters.incoming import IncomingFolder, received
from services.content.adapters.records import SETS, ClaimRecords, MemeRecords, ShelfRecords
from services.content.app import parts
from services.content.app.ports import (
    Files,
    News,
    Received,
    RenderDone,
    RenderFailed,
    RenderPending,
)
from services.content.app.steps import Patience
from services.content.app.uploading import UploadOrder
from services.content.domain.films import FilmFacts
from services.content.domain.looks import Look
from services.content.domain.memes import Meme, Stage
from services.content.domain.pictures import Inspection
from services.content.domain.values import InstantNs, MemeId, Sha256, UserId

GOOD = FilmFacts("h264", 1920, 1080, 30.0, 60, 2000, 1.0, 0.99, 950_000, ())
BAD = FilmFacts("h264", 1920, 1080, 30.0, 60, 2000, 1.0, 0.5, 500_000, ("motion smoothness 0.500",))
CREATOR = UserId(uuid7())
ROUNDS_MAX = 200


class Crash(BaseException):
    """The process dies: nothing it does afterwards has any effect."""


class Points:
    """Every place where a process may die, in order."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.passed: list[str] = []
        self.dead = False

    def hit(self, name: str) -> None:
        if not self.dead:
            self.passed.append(name)
            self.dead = len(self.passed) == self.crash_at
        if self.dead:
            raise Crash(name)


class MortalStore:
    """A store whose every write is a point before and a point after; failures can be ordered."""

    def __init__(self, store: Store, points: Points) -> None:
        self._store = store
        self._points = points
        self.failing: Callable[[str, str], Failure | None] = lambda _what, _set: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(set_name: str, *args: Any, **kwargs: Any) -> Any:
            failure = self.failing(name, set_name)
            if failure is not None and getattr(failure, "before", True):
                raise failure
            writes = name in ("create", "put_if", "delete")
            self._check(f"{name} {set_name}", writes)
            result = await method(set_name, *args, **kwargs)
            self._check(f"{name} {set_name} done", writes)
            if failure is not None:
                raise failure
            return result

        return call

    def _check(self, what: str, writes: bool) -> None:
        if writes:
            self._points.hit(what)
        elif self._points.dead:
            raise Crash(what)


class MortalFiles:
    def __init__(self, files: Files, points: Points) -> None:
        self._files = files
        self._points = points
        self.read, self.fetch = files.read, files.fetch

    async def put(self, kind: str, sha256: Sha256, path: Path) -> None:
        self._points.hit(f"file {kind}")
        await self._files.put(kind, sha256, path)
        self._points.hit(f"file {kind} done")

    async def delete(self, kind: str, sha256: Sha256) -> None:
        self._points.hit(f"delete file {kind}")
        await self._files.delete(kind, sha256)


class Outside:
    """AITubo, ledger, chain, identity: they survive the process."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.polls: list[str] = []
        self.titles: dict[str, str] = {}
        self.inscribed: dict[str, tuple[str, bytes]] = {}
        self.answers: list[RenderPending | RenderFailed | Failure] = [RenderPending()]
        self.refusals: dict[str, list[Failure]] = {}
        self.film = b"0000ftyp a film"
        self.facts = GOOD

    def refuse(self, what: str) -> None:
        waiting = self.refusals.get(what)
        if waiting:
            raise waiting.pop(0)


class FakeRenderer:
    def __init__(self, outside: Outside, points: Points) -> None:
        self._outside = outside
        self._points = points

    async def order(self, meme: Meme) -> str:
        self._points.hit("order")
        self._outside.refuse("order")
        self._outside.jobs.append(meme.id)
        self._points.hit("order done")
        return f"job-{len(self._outside.jobs)}"

    async def look(self, job: str) -> RenderPending | RenderFailed | RenderDone:
        self._outside.polls.append(job)
        self._outside.refuse("look")
        answer = self._outside.answers.pop(0) if self._outside.answers else RenderDone("https://films/1")
        if isinstance(answer, Failure):
            raise answer
        return answer

    async def download(self, url: str, path: Path) -> Received:
        self._points.hit("download")
        self._outside.refuse("download")
        return await received(_once(self._outside.film), path, 1_000_000)


class FakeTitles:
    def __init__(self, outside: Outside, points: Points) -> None:
        self._outside = outside
        self._points = points

    async def issue(self, meme: Meme) -> None:
        self._points.hit("issue")
        self._outside.refuse("issue")
        assert self._outside.titles.setdefault(meme.id, meme.creator_id) == meme.creator_id
        self._points.hit("issue done")

    async def inscribe(self, meme: Meme, film: Sha256, poster: bytes) -> None:
        self._points.hit("inscribe")
        self._outside.refuse("inscribe")
        assert self._outside.inscribed.setdefault(meme.id, (film, poster)) == (film, poster)
        self._points.hit("inscribe done")


class FakeWorkshop:
    """A picture is the text of its look; bytes behind a newline are another encoding of it."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def inspect_picture(self, path: Path) -> Inspection:
        self._outside.refuse("inspect")
        shown = (await asyncio.to_thread(path.read_bytes)).partition(b"\n")[0]
        digest = hashlib.sha512(shown).hexdigest()
        return Inspection("image/png", 1920, 1080, Look(digest[:16], digest[16:80]))

    async def measure_film(self, path: Path, poster: Path) -> FilmFacts:
        self._outside.refuse("measure")
        await asyncio.to_thread(poster.write_bytes, b"a poster")
        return self._outside.facts


class FakeCreators:
    async def exists(self, user_id: UserId) -> bool:
        return user_id == CREATOR


class Told:
    def __init__(self) -> None:
        self.stages: list[tuple[MemeId, Stage]] = []

    def tell(self, meme: Meme, stage: Stage) -> None:
        self.stages.append((meme.id, stage))


class Queued:
    def __init__(self) -> None:
        self.jobs: list[tuple[MemeId, int, InstantNs]] = []

    async def enqueue(self, meme_id: MemeId, generation: int, due_ns: InstantNs) -> None:
        self.jobs.append((meme_id, generation, due_ns))


class World:
    """One process after the other over the same records, files and outside."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.plain_store = store
        self.folder = folder
        self.clock = ManualClock()
        self.outside = Outside()
        self.told = Told()
        self.news: News = self.told
        self.patience = Patience(poll_s=1.0, render_s_max=60.0)
        self.start()

    def start(self, crash_at: int | None = None) -> None:
        """A new process."""
        points = self.points = Points(crash_at)
        self.store = MortalStore(self.plain_store, points)
        store = cast("Store", self.store)
        self.memes, self.claims = MemeRecords(store), ClaimRecords(store)
        self.shelf = ShelfRecords(store, self.memes)
        self.plain_files = open_files("", self.folder / "files")
        self.queue = Queued()
        tokens = (f"{id(points)}-{number}" for number in itertools.count())
        world = parts.World(
            memes=self.memes,
            claims=self.claims,
            shelf=self.shelf,
            files=MortalFiles(self.plain_files, points),
            incoming=IncomingFolder(self.folder / "incoming"),
            workshop=FakeWorkshop(self.outside),
            renderer=FakeRenderer(self.outside, points),
            creators=FakeCreators(),
            titles=FakeTitles(self.outside, points),
            queue=self.queue,
            news=self.news,
            clock=self.clock,
            chance=random.Random(1),
            new_token=lambda: next(tokens),
        )
        rules = parts.Rules(instance="content-1", step_s_max=30.0, patience=self.patience)
        one = self.one = parts.Parts(world, rules)
        self.claiming, self.uploading = one.claiming, one.uploading
        self.steps, self.pipeline = one.steps, one.pipeline
        self.moderating, self.reading = one.moderating, one.reading

    def upload(
        self,
        data: bytes = b"a picture",
        meme_id: str | None = None,
        *,
        name: str = "A meme",
        creator_id: str = CREATOR,
        size_bytes: int | None = None,
    ) -> Coroutine[Any, Any, Meme]:
        order = UploadOrder(MemeId(meme_id or uuid7()), name, UserId(creator_id), size_bytes)
        return self.uploading.upload(order, _once(data))

    async def run(self, *, rounds_max: int = ROUNDS_MAX) -> None:
        """Does whatever is due, moving time on to it, until nothing is left."""
        for _ in range(rounds_max):
            unfinished = [kept async for kept in self.memes.unfinished()]
            if not unfinished:
                return
            first = min(unfinished, key=lambda kept: kept.meme.task.due_ns if kept.meme.task else 0)
            assert first.meme.task is not None
            wait_ns = max(first.meme.task.due_ns, first.meme.task.leased_until_ns) - self.clock.now_ns()
            await self.clock.advance(max(0.0, wait_ns / 1e9) + 0.001)
            await self.pipeline.advance(first.meme.id)

    async def restart(self) -> None:
        """The next process, started as the composition root does it."""
        self.start()
        await self.pipeline.recover()
        await self.pipeline.sweep(0.0)

    async def meme(self, meme_id: str) -> Meme:
        return await self.reading.get(MemeId(meme_id))

    def files(self) -> list[str]:
        """All files that are kept, temporary ones included."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


async def _once(data: bytes) -> AsyncIterator[bytes]:
    size = max(5, len(data) // 20)
    for start in range(0, len(data), size):
        yield data[start : start + size]


@asynccontextmanager
async def new_world(folder: Path) -> AsyncIterator[World]:
    async with open_sqlite(folder / "records.sqlite", SETS) as store:
        yield World(store, folder / "data")
