"""One job's work in a process of its own: `python -m sandbox.aitubo.render <folder>`.

The folder holds the picture and the order, and gets the results. A process for each job keeps the server
answering, gives the memory back, and can be ended at its deadline; its imports cost 0.3 s of processor time.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
from pydantic import TypeAdapter

from sandbox.aitubo.film import FilmOrder, render_film
from sandbox.aitubo.framing import PictureUnreadable
from sandbox.aitubo.style import StyleOrder, render_style

PICTURE_FILE = "picture"
ORDER_FILE = "order.json"
FILM_FILE = "film.mp4"
COVER_FILE = "cover.jpg"
EXIT_UNREADABLE = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What one job asks for: a film, or pictures."""

    film: FilmOrder | None
    pictures: tuple[StyleOrder, ...] = ()
    niceness: int = 10


WORK = TypeAdapter(Work)


def picture_file(number: int) -> str:
    """Name of the result picture `number`, from 0."""
    return f"picture-{number}.jpg"


def render(folder: Path) -> None:
    """Do the work that stands in `folder`. Raises PictureUnreadable."""
    work = WORK.validate_json((folder / ORDER_FILE).read_bytes())
    picture = (folder / PICTURE_FILE).read_bytes()
    os.nice(work.niceness)
    cv2.setNumThreads(1)
    if work.film is not None:
        render_film(picture, work.film, folder / FILM_FILE, folder / COVER_FILE)
    for number, order in enumerate(work.pictures):
        render_style(picture, order, folder / picture_file(number))


def main() -> None:
    """Exit code 0: done. EXIT_UNREADABLE: the picture is no picture; the last line says why."""
    try:
        render(Path(sys.argv[1]))
    except PictureUnreadable as error:
        print(error)
        raise SystemExit(EXIT_UNREADABLE) from error


if __name__ == "__main__":
    main()
