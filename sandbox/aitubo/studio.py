"""The workers behind the counter: fetch the picture, render in a process of its own, note how it went."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp

from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.faults import Fault
from sandbox.aitubo.jobs import Job, Jobs, JobsFull, Status
from sandbox.aitubo.render import EXIT_UNREADABLE, ORDER_FILE, PICTURE_FILE, WORK
from sandbox.process import start_child

CHUNK_BYTES = 65_536
PICTURE_URL_SCHEMES = ("http://", "https://")
PICTURE_BYTES_MAX = 10 * 1024 * 1024
FETCH_S_MAX, RENDER_S_MAX = 20.0, 180.0


class JobProblem(Exception):  # noqa: N818 - becomes the job's state, not a crash
    """Why a job failed, in words for the client."""


class Studio:
    """`settings.workers` tasks over one bounded queue."""

    def __init__(self, settings: AituboSettings, jobs: Jobs) -> None:
        self._settings = settings
        self._jobs = jobs
        self._queue: asyncio.Queue[Job] = asyncio.Queue(settings.queue_max)

    def enqueue(self, job: Job) -> None:
        """Line the job up. Raises JobsFull."""
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull as error:
            job.status, job.problem = Status.FAILED, "queue is full"
            raise JobsFull from error

    async def run(self) -> None:
        """Work until cancelled."""
        timeout = aiohttp.ClientTimeout(total=FETCH_S_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(self._worker(http))

    async def _worker(self, http: aiohttp.ClientSession) -> None:
        while True:
            job = await self._queue.get()
            job.status = Status.RUNNING
            try:
                await self._do(job, http)
            except JobProblem as problem:
                job.status, job.problem = Status.FAILED, str(problem)
            except OSError as error:
                job.status, job.problem = Status.FAILED, f"internal error: {error.strerror}"
            else:
                job.status = Status.DONE

    async def _do(self, job: Job, http: aiohttp.ClientSession) -> None:
        if job.fault is not None and job.fault.kind is Fault.SLOW:
            await asyncio.sleep(job.fault.seconds)
        picture = await self._fetch(job.image_url, http)
        if job.fault is not None and job.fault.kind is Fault.FAIL_JOB:
            raise JobProblem("generation failed")
        folder = self._jobs.folder(job)
        await asyncio.to_thread(_lay_out, folder, picture, WORK.dump_json(job.work))
        await self._render(folder)

    async def _fetch(self, url: str, http: aiohttp.ClientSession) -> bytes:
        if not url.startswith(PICTURE_URL_SCHEMES):
            raise JobProblem("the image address is not http or https")
        picture = bytearray()
        try:
            async with http.get(url) as response:
                if response.status != 200:
                    raise JobProblem(f"the image address answered {response.status}")
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    picture += chunk
                    if len(picture) > PICTURE_BYTES_MAX:
                        raise JobProblem("the image is too large")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise JobProblem(f"the image could not be fetched: {type(error).__name__} {error}") from error
        return bytes(picture)

    async def _render(self, folder: Path) -> None:
        child = await start_child(
            "render",
            [sys.executable, "-m", "sandbox.aitubo.render", folder],
            log_path=folder / "render.log",
            at_parent_death=signal.SIGKILL,
        )
        try:
            if not await child.ended_within(RENDER_S_MAX):
                raise JobProblem("generation took too long")
        finally:
            await child.stop()
        if child.exit_code == EXIT_UNREADABLE:
            raise JobProblem(f"the image is not readable: {child.log_tail()}")
        if child.exit_code != 0:
            raise JobProblem(f"internal error: rendering ended with code {child.exit_code}")


def _lay_out(folder: Path, picture: bytes, order: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / PICTURE_FILE).write_bytes(picture)
    (folder / ORDER_FILE).write_bytes(order)
