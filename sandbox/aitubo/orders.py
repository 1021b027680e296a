"""What clients may ask for: the bodies of both kinds of job, and the work that they mean."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, Field, ValidationError

from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.faults import FaultOrder
from sandbox.aitubo.film import FilmOrder
from sandbox.aitubo.render import Work
from sandbox.aitubo.style import SIDE_PX_MAX, StyleOrder

PICTURES_MAX = 4
TEXT_CHARS_MAX = 4_000


class BadOrder(Exception):  # noqa: N818 - said to the client, as AITubo says it
    """The body is no order; the text says which field is wrong."""


class ImageBody(BaseModel):
    """Body of /api/job/create. Fields that only a model would read are accepted and left alone."""

    prompt: str = Field(default="", max_length=TEXT_CHARS_MAX)
    image_path: str = Field(alias="imagePath", min_length=1, max_length=TEXT_CHARS_MAX)
    strength: float = Field(default=0.5, ge=0, le=1)
    width: int = Field(default=1920, ge=64, le=SIDE_PX_MAX)
    height: int = Field(default=1080, ge=64, le=SIDE_PX_MAX)
    count: int = Field(default=1, ge=1, le=PICTURES_MAX)
    seed: int | None = None


class VideoBody(BaseModel):
    """Body of /api/job/create-video. A template's own parameters are accepted and left alone."""

    image: str = Field(min_length=1, max_length=TEXT_CHARS_MAX)
    seed: int | None = None


def image_work(body: bytes, settings: AituboSettings) -> tuple[str, Work]:
    """The picture's address and what to do with it. Raises BadOrder."""
    try:
        asked = ImageBody.model_validate_json(body)
    except ValidationError as error:
        raise BadOrder(_first_problem(error)) from error
    seed = _seed(asked.seed, asked)
    orders = (StyleOrder(seed + n, asked.strength, asked.width, asked.height) for n in range(asked.count))
    return asked.image_path, Work(None, tuple(orders), settings.niceness)


def video_work(body: bytes, settings: AituboSettings, fault: FaultOrder | None) -> tuple[str, Work]:
    """The picture's address and the film to make of it, spoilt when a fault says so. Raises BadOrder."""
    try:
        asked = VideoBody.model_validate_json(body)
    except ValidationError as error:
        raise BadOrder(_first_problem(error)) from error
    flaw = fault.kind.flaw if fault is not None else None
    film = FilmOrder(_seed(asked.seed, asked), settings.film_seconds, flaw)
    return asked.image, Work(film, (), settings.niceness)


def _seed(asked: int | None, body: BaseModel) -> int:
    """The asked one; without it (or with the customary -1) one that depends on the order only."""
    if asked is not None and asked >= 0:
        return asked
    canonical = json.dumps(body.model_dump(exclude={"seed"}), sort_keys=True)
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:4], "big")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'body'}: {first['msg']}"
