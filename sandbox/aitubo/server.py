"""The counter: AITubo's addresses, answers and errors, as its public clients know them.

Every answer is JSON `{"code": 0, …}`; an error has another code, its text in `info` for image jobs and in
`message` for video jobs. A wrong key is 401; 403 is HTML, from the proxy in front; too much work is 429.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

from aiohttp import web
from pydantic import ValidationError

from sandbox.aitubo.answers import domain_and_path, failure, job_answer, refusal
from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.faults import ControlRequest, Fault, Faults
from sandbox.aitubo.jobs import JobKind, Jobs, JobsFull
from sandbox.aitubo.orders import BadOrder, image_work, video_work
from sandbox.aitubo.render import COVER_FILE, FILM_FILE
from sandbox.aitubo.studio import Studio
from sandbox.process import require_free_port

BODY_BYTES_MAX = 64 * 1024
SHUTDOWN_S = 2.0
CODE_BAD_REQUEST = 10400
CODE_UNAUTHORIZED = 10401
CODE_NOT_FOUND = 10404
CODE_TOO_MANY = 10429
CODE_INTERNAL = 10500
PAGES = {
    Fault.HTTP_403: (403, "<html><body><h1>403 Forbidden</h1></body></html>"),
    Fault.NO_JSON: (200, "<html><body>We are busy.</body></html>"),
}
REFUSALS = {
    Fault.HTTP_401: (401, CODE_UNAUTHORIZED, "invalid api key"),
    Fault.HTTP_429: (429, CODE_TOO_MANY, "too many requests"),
    Fault.HTTP_500: (500, CODE_INTERNAL, "internal server error"),
}
PUBLIC_FILE = re.compile(rf"{re.escape(FILM_FILE)}|{re.escape(COVER_FILE)}|picture-\d\.jpg")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Counter:
    """The HTTP handlers over one studio."""

    def __init__(self, settings: AituboSettings) -> None:
        self._settings = settings
        self._faults = Faults()
        self._jobs = Jobs(settings.data_dir.resolve() / "jobs", settings.jobs_max)
        self._studio = Studio(settings, self._jobs)

    def app(self) -> web.Application:
        """The web application; its studio works while the application runs."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._spoil])
        app.cleanup_ctx.append(self._studio_at_work)
        app.router.add_post("/api/job/create", self._create_image)
        app.router.add_get("/api/job/get", self._get_image)
        app.router.add_post("/api/job/create-video", self._create_video)
        app.router.add_get("/api/job/get-video", self._get_video)
        app.router.add_get("/files/{art_id}/{name}", self._file)
        app.router.add_get("/_control", self._show_control)
        app.router.add_post("/_control", self._control)
        return app

    async def _studio_at_work(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._studio.run(), name="studio")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @web.middleware
    async def _spoil(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer API requests wrongly when a fault says so."""
        fault = self._faults.for_request() if request.path.startswith("/api/") else None
        if fault is None:
            return await handler(request)
        kind = JobKind.VIDEO if request.path.endswith("-video") else JobKind.IMAGE
        if fault.kind is Fault.DROP and request.transport is not None:
            request.transport.abort()
        if fault.kind in PAGES:
            status, text = PAGES[fault.kind]
            return web.Response(status=status, text=text, content_type="text/html")
        return refusal(kind, *REFUSALS.get(fault.kind, REFUSALS[Fault.HTTP_500]))

    async def _create_image(self, request: web.Request) -> web.Response:
        return await self._create(request, JobKind.IMAGE)

    async def _create_video(self, request: web.Request) -> web.Response:
        return await self._create(request, JobKind.VIDEO)

    async def _get_image(self, request: web.Request) -> web.Response:
        return self._get(request, JobKind.IMAGE)

    async def _get_video(self, request: web.Request) -> web.Response:
        return self._get(request, JobKind.VIDEO)

    async def _create(self, request: web.Request, kind: JobKind) -> web.Response:
        if not self._key_is_right(request):
            return refusal(kind, 401, CODE_UNAUTHORIZED, "invalid api key")
        body = await request.read()
        fault = self._faults.for_job()
        try:
            if kind is JobKind.VIDEO:
                image_url, work = video_work(body, self._settings, fault)
            else:
                image_url, work = image_work(body, self._settings)
            job = self._jobs.add(kind, image_url, work, fault)
            self._studio.enqueue(job)
        except BadOrder as bad:
            return failure(kind, CODE_BAD_REQUEST, str(bad))
        except JobsFull:
            return refusal(kind, 429, CODE_TOO_MANY, "too many jobs in the queue")
        return job_answer(kind, {"id": job.id, "credit": 1.0})

    def _get(self, request: web.Request, kind: JobKind) -> web.Response:
        """Polls need no key: the job's id is the secret. A wrong key is wrong all the same."""
        if "Authorization" in request.headers and not self._key_is_right(request):
            return refusal(kind, 401, CODE_UNAUTHORIZED, "invalid api key")
        job = self._jobs.get(request.query.get("id", ""), kind)
        if job is None:
            return failure(kind, CODE_NOT_FOUND, "job not found")
        return job_answer(kind, domain_and_path(job, str(request.url.origin())))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        folder = self._jobs.public_folder(request.match_info["art_id"])
        name = request.match_info["name"]
        if folder is None or not PUBLIC_FILE.fullmatch(name):
            raise web.HTTPNotFound
        return web.FileResponse(folder / name)

    async def _show_control(self, request: web.Request) -> web.Response:
        _require_local(request)
        return web.json_response({"waiting": [fault.model_dump() for fault in self._faults.waiting()]})

    async def _control(self, request: web.Request) -> web.Response:
        _require_local(request)
        try:
            self._faults.apply(ControlRequest.model_validate_json(await request.read()))
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return await self._show_control(request)

    def _key_is_right(self, request: web.Request) -> bool:
        expected = f"Bearer {self._settings.key.get_secret_value()}"
        sent = request.headers.get("Authorization", "")
        return hmac.compare_digest(sent.encode(), expected.encode())


def _require_local(request: web.Request) -> None:
    if request.remote is None or not ip_address(request.remote).is_loopback:
        raise web.HTTPForbidden(text="the control address is for this machine only")


@asynccontextmanager
async def running_aitubo(settings: AituboSettings) -> AsyncIterator[str]:
    """The stand-in for the length of a `with` block; gives its address. Raises PortTaken."""
    if settings.port:
        require_free_port(settings.port, part="The AITubo stand-in", setting="SATREEL_SANDBOX_AITUBO_PORT")
    runner = web.AppRunner(Counter(settings).app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        port = runner.addresses[0][1]
        yield f"http://{settings.host}:{port}"
    finally:
        await runner.cleanup()
