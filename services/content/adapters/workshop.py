"""Runs the workshop: one short-lived process per file, with little memory, little time and no secrets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from pydantic import BaseModel

from mesh.errors import Unavailable
from mesh.logs import logger
from services.content.app.rendering import CheckOverran
from services.content.domain.failures import PICTURE_REFUSALS, Undecodable
from services.content.domain.films import FilmFacts
from services.content.domain.pictures import Inspection, PictureBounds

POSTER_FILE_BYTES_MAX = 4_000_000
TAIL_CHARS = 300

log = logger(__name__)


class _Refused(BaseModel):
    reason: str
    message: str
    metadata: dict[str, str]


class _PictureAnswer(BaseModel):
    accepted: Inspection | None = None
    refused: _Refused | None = None


class _FilmAnswer(BaseModel):
    accepted: FilmFacts


class WorkshopUnavailable(Unavailable):
    """No process could be started to look at the file."""

    reason = "WORKSHOP_UNAVAILABLE"


class Overran(Exception):  # noqa: N818 - what happened to the process
    """The process was ended by its limits, or crashed."""


@dataclass(frozen=True, slots=True)
class WorkshopLimits:
    """Of one process; `processes_max` at a time."""

    memory_bytes: int
    time_s: int
    processes_max: int = 2


class ProcessWorkshop:
    """The port `Workshop`."""

    def __init__(self, *, pictures: WorkshopLimits, films: WorkshopLimits, bounds: PictureBounds) -> None:
        self._pictures = pictures
        self._films = films
        self._bounds = bounds
        self._picture_places = asyncio.Semaphore(pictures.processes_max)
        self._film_places = asyncio.Semaphore(films.processes_max)

    async def inspect_picture(self, path: Path) -> Inspection:
        """Decodes a picture whole."""
        try:
            async with self._picture_places:
                answer = _PictureAnswer.model_validate_json(await self._run(self._pictures, "picture", path))
        except Overran as problem:
            raise Undecodable("decoding takes more memory or time than a picture may have") from problem
        if answer.accepted is not None:
            return answer.accepted
        refused = answer.refused or _Refused(reason="", message="no answer", metadata={})
        raise PICTURE_REFUSALS.get(refused.reason, Undecodable)(refused.message, **refused.metadata)

    async def measure_film(self, path: Path, poster: Path) -> FilmFacts:
        """Decodes a film whole; writes its poster when it is good."""
        try:
            async with self._film_places:
                answer = await self._run(self._films, "film", path, poster)
        except Overran as problem:
            raise CheckOverran("checking takes more memory or time than a film may have") from problem
        return _FilmAnswer.model_validate_json(answer).accepted

    async def _run(self, limits: WorkshopLimits, what: str, *paths: Path) -> bytes:
        order = {
            "memory_bytes": limits.memory_bytes,
            "time_s": limits.time_s,
            "file_bytes": POSTER_FILE_BYTES_MAX,
            "bounds": asdict(self._bounds),
        }
        program = [sys.executable, "-I", "-m", "services.content.workshop", orjson.dumps(order).decode()]
        try:
            process = await asyncio.create_subprocess_exec(
                *program,
                what,
                *map(str, paths),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except OSError as problem:
            raise WorkshopUnavailable from problem
        return await _answer(process, limits.time_s)


async def _answer(process: asyncio.subprocess.Process, time_s: int) -> bytes:
    try:
        # The process ends itself in time; this is for one that does not.
        async with asyncio.timeout(time_s + 2):
            out, err = await process.communicate()
    except TimeoutError as problem:
        raise Overran("no answer in time") from problem
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        tail = err.decode(errors="replace")[-TAIL_CHARS:]
        log.warning("workshop process failed", exit_code=process.returncode, tail=tail)
        raise Overran(f"exit code {process.returncode}")
    return out
