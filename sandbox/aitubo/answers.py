"""The shapes of AITubo's answers: image jobs and video jobs differ in small things."""

from __future__ import annotations

from aiohttp import web

from sandbox.aitubo.jobs import Job, JobKind, Status
from sandbox.aitubo.render import COVER_FILE, FILM_FILE, picture_file

CODE_JOB_FAILED = 20001


def job_answer(kind: JobKind, data: object) -> web.Response:
    """Success: code 0 and an empty error text."""
    return web.json_response({"code": 0, _text_key(kind): "", "data": data})


def failure(kind: JobKind, code: int, text: str) -> web.Response:
    """An error of the application: HTTP 200, but another code."""
    return refusal(kind, 200, code, text)


def refusal(kind: JobKind, status: int, code: int, text: str) -> web.Response:
    """An error that HTTP knows as well."""
    return web.json_response({"code": code, _text_key(kind): text, "data": None}, status=status)


def domain_and_path(job: Job, origin: str) -> dict[str, object]:
    """`data` of a poll. A result's address is domain + path, the slash on either side, both, or none."""
    status = int(job.status)
    if job.status is Status.FAILED:
        text = {"message": job.problem} if job.kind is JobKind.VIDEO else {"info": job.problem}
        return {"status": status, "result": {"code": CODE_JOB_FAILED, **text, "data": None}}
    if job.status is not Status.DONE:
        return {"status": status, "result": None}
    domain, lead = _slashes(job.number, f"{origin}/files")
    if job.kind is JobKind.VIDEO:
        files = {"video": f"{lead}{job.art_id}/{FILM_FILE}", "image": f"{lead}{job.art_id}/{COVER_FILE}"}
        return {"status": status, "result": {"data": {"domain": domain, **files}}}
    count = len(job.work.pictures)
    images = [f"{lead}{job.art_id}/{picture_file(number)}" for number in range(count)]
    pictures = {"images": images, "nsfws": [False] * count, "artIds": [job.art_id] * count}
    return {"status": status, "result": {"code": 0, "info": "", "data": {"domain": domain, **pictures}}}


def _text_key(kind: JobKind) -> str:
    return "message" if kind is JobKind.VIDEO else "info"


def _slashes(number: int, domain: str) -> tuple[str, str]:
    """In turn, so that a client sees all four."""
    return (f"{domain}/" if number & 1 else domain), ("/" if number & 2 else "")
