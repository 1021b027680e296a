"""The quality check on films that were really encoded."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sandbox.aitubo.film import FilmOrder, Flaw, render_film
from sandbox.pictures import Aspect, PictureFormat, meme_bytes
from services.content.adapters.workshop import ProcessWorkshop, WorkshopLimits
from services.content.app.rendering import CheckOverran
from services.content.domain.films import Measured, assess
from services.content.domain.pictures import PictureBounds
from services.content.workshop.films import POSTER_BYTES_MAX, measure

MIB = 1024 * 1024
# Of a slow machine.
CHECK_CPU_S_MAX = 20.0
WHY = {
    Flaw.WRONG_CODEC: "codec mpeg4",
    Flaw.WRONG_SIZE: "1280x720",
    Flaw.WRONG_RATE: "24.00 frames per second",
    Flaw.BLACK: "black",
    Flaw.STILL: "still",
    Flaw.JERKY: "smoothness",
    Flaw.TRUNCATED: "does not decode",
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("films")
    picture = meme_bytes(4, Aspect.WIDE, PictureFormat.JPEG)

    def make(flaw: Flaw | None = None, seconds: float = 0.8) -> Path:
        path = folder / f"{flaw}-{seconds}.mp4"
        if not path.exists():
            render_film(picture, FilmOrder(1, seconds, flaw=flaw), path, folder / "cover.jpg")
        return path

    return make


def workshop(memory_bytes: int = 2048 * MIB) -> ProcessWorkshop:
    limits = WorkshopLimits(memory_bytes, 60)
    return ProcessWorkshop(pictures=limits, films=limits, bounds=PictureBounds())


async def test_a_good_film_is_good_and_cheap_to_check(film: Callable[..., Path], tmp_path: Path) -> None:
    path, poster = film(seconds=2.0), tmp_path / "poster.jpg"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = await workshop().measure_film(path, poster)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert facts.problems == ()
    assert 800_000 <= facts.quality_ppm <= 1_000_000
    assert (facts.codec, facts.width, facts.height, facts.frames) == ("h264", 1920, 1080, 60)
    assert facts.frame_rate == 30.0
    assert facts.duration_ms == 2000
    assert min(facts.timing_regularity, facts.motion_smoothness) >= 0.95
    assert 0 < poster.stat().st_size <= POSTER_BYTES_MAX
    with Image.open(poster) as image:
        assert (image.format, image.size) == ("JPEG", (1280, 720))
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s < CHECK_CPU_S_MAX


@pytest.mark.parametrize("flaw", Flaw)
def test_flawed_films_are_refused_with_what_was_measured(
    film: Callable[..., Path], tmp_path: Path, flaw: Flaw
) -> None:
    facts = measure(film(flaw), tmp_path / "poster.jpg")
    assert WHY[flaw] in "; ".join(facts.problems)
    assert not (tmp_path / "poster.jpg").exists()


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_film_that_was_cut_is_refused(film: Callable[..., Path], tmp_path: Path, kept: float) -> None:
    whole = film().read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * kept)])
    assert measure(tmp_path / "cut.mp4", tmp_path / "poster.jpg").problems


@pytest.mark.parametrize("data", [b"", b"<html>busy</html>", b"\0\0\0\x18ftypmp42" + bytes(100)])
def test_what_is_no_film_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "film.mp4").write_bytes(data)
    assert measure(tmp_path / "film.mp4", tmp_path / "poster.jpg").problems


async def test_a_check_that_needs_too_much_is_ended(film: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(CheckOverran):
        await workshop(300 * MIB).measure_film(film(), tmp_path / "poster.jpg")


def measured(changes: list[float]) -> Measured:
    frames = len(changes) + 1
    return Measured(
        "h264",
        1920,
        1080,
        frames,
        tuple(number / 30 for number in range(frames)),
        tuple(changes),
        (100.0,) * frames,
        (50.0,) * frames,
    )


def test_even_motion_is_smooth_and_every_second_frame_doubled_is_not() -> None:
    assert assess(measured([3.0] * 59)).problems == ()
    assert assess(measured([3.0, 0.0] * 30)).motion_smoothness < 0.95


def test_one_cut_is_no_fault_but_many_are() -> None:
    assert assess(measured([3.0] * 30 + [40.0] + [3.0] * 28)).problems == ()
    assert assess(measured(([3.0] * 9 + [40.0]) * 6)).problems != ()


@given(st.lists(st.floats(0, 255), max_size=100))
def test_scores_lie_between_nothing_and_one(changes: list[float]) -> None:
    facts = assess(measured(changes))
    assert 0 <= facts.quality_ppm <= 1_000_000
    assert 0 <= facts.motion_smoothness <= 1
