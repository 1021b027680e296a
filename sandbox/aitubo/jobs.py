"""Jobs: what was asked, how far it is, where the result stands. Bounded, and in memory only."""

from __future__ import annotations

import secrets
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path

from sandbox.aitubo.faults import FaultOrder
from sandbox.aitubo.render import Work

ID_BYTES = 12  # 24 hex digits, as AITubo's ids


class JobKind(StrEnum):
    """The two kinds of job; each has its own pair of addresses and its own answer."""

    IMAGE = "image"
    VIDEO = "video"


class Status(IntEnum):
    """AITubo's numbers. Clients trust only DONE and FAILED."""

    QUEUED = 0
    RUNNING = 1
    DONE = 2
    FAILED = 3

    @property
    def is_final(self) -> bool:
        """Whether it will not change any more."""
        return self in (Status.DONE, Status.FAILED)


class JobsFull(Exception):  # noqa: N818 - a state of the house, named as such
    """Too many jobs wait or are unfinished."""


@dataclass(slots=True)
class Job:
    """`art_id` names the result's folder in public addresses; the job's own id stays its client's secret."""

    kind: JobKind
    image_url: str
    work: Work
    number: int
    fault: FaultOrder | None = None
    status: Status = Status.QUEUED
    problem: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(ID_BYTES))
    art_id: str = field(default_factory=lambda: secrets.token_hex(ID_BYTES))


class Jobs:
    """The last `jobs_max` jobs and their folders. The oldest finished one makes room, files and all."""

    def __init__(self, folder: Path, jobs_max: int) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)  # of a run before: nobody knows those jobs any more
        self._jobs_max = jobs_max
        self._by_id: OrderedDict[str, Job] = OrderedDict()
        self._by_art: dict[str, Job] = {}
        self._added = 0

    def add(self, kind: JobKind, image_url: str, work: Work, fault: FaultOrder | None) -> Job:
        """Remember a new job. Raises JobsFull when every remembered one is unfinished."""
        if len(self._by_id) >= self._jobs_max:
            self._forget_oldest()
        self._added += 1
        job = Job(kind, image_url, work, self._added, fault)
        self._by_id[job.id] = self._by_art[job.art_id] = job
        return job

    def get(self, job_id: str, kind: JobKind) -> Job | None:
        """The job, unless it is unknown, forgotten, or of the other kind."""
        job = self._by_id.get(job_id)
        return job if job is not None and job.kind is kind else None

    def folder(self, job: Job) -> Path:
        """Where its files stand."""
        return self._folder / job.art_id

    def public_folder(self, art_id: str) -> Path | None:
        """Where a finished job's results stand."""
        job = self._by_art.get(art_id)
        return self.folder(job) if job is not None and job.status is Status.DONE else None

    def _forget_oldest(self) -> None:
        oldest = next((job for job in self._by_id.values() if job.status.is_final), None)
        if oldest is None:
            raise JobsFull
        del self._by_id[oldest.id], self._by_art[oldest.art_id]
        shutil.rmtree(self.folder(oldest), ignore_errors=True)
