"""The mesh's certificates on one machine: made, and renewed while it runs.

    python -m sandbox.certificates                     renews those with less than a third of their life left
    python -m sandbox.certificates --anew              renews all of them now
    python -m sandbox.certificates --anew-authority    renews the authority, too, and so all of them

What runs follows by itself: Envoy and servers with the next connection, callers within a second or two. A new
authority comes in three steps, with a pause between them: it is trusted beside the one before; it issues all
certificates; it alone is trusted. Stopped at any moment and run again, it goes on from there. Teams
(`python -m sandbox.team`) get their files again in each pause. In a cluster: docs/runbooks/certificates.md.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mesh.authority import ISSUES, RENEW_BELOW, Authority, Stage
from topology.parts import PARTS

FOLDER = Path(".satreel/data/tls")
# The launcher asks services for their health.
NAMES = (*PARTS, "launcher")
LOOK_S = 3600.0
# Callers look each second whether something was renewed.
PAUSE_S = 10.0


class Certificates:
    """Those of all parts, in the folder of an authority that is made where there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder):
            Authority.open(folder)

    def make(self, *, anew: bool = False) -> Stage:
        """Makes what is missing or has less than a third of its life left; `anew`, all.

        Gives how far a change of authority has come.
        """
        with held(self._folder) as authority:
            return _make(authority, anew=anew)

    async def keep(self, progress: Callable[[str], None]) -> None:
        """Renews them in time, and the authority; what fails is told and tried again. Endless."""
        while True:
            try:
                await asyncio.to_thread(self._look, progress)
            except (OSError, ValueError) as problem:
                progress(f"certificates cannot be renewed, which is tried again: {problem}")
            await asyncio.sleep(LOOK_S)

    async def renew_authority(self, progress: Callable[[str], None], *, pause_s: float = PAUSE_S) -> None:
        """Three steps, with so long for all to follow between them; goes on where it was broken off."""
        stage = self.make()
        if stage is not Stage.ALONE:
            progress(f"goes on: {stage.value}")
            await asyncio.sleep(pause_s)
        while (stage := self._step(stage)) is not Stage.ALONE:
            progress(f"{stage.value}; all follow for {pause_s:g} s")
            await asyncio.sleep(pause_s)
        progress("the new authority alone is trusted")

    def _look(self, progress: Callable[[str], None]) -> None:
        with held(self._folder) as authority:
            _make(authority)
            if authority.is_step_due():
                authority.step()
                progress(f"the authority is renewed: {_make(authority).value}")

    def _step(self, seen: Stage) -> Stage:
        """The next one, unless somebody else took it meanwhile, after which all are to follow first."""
        with held(self._folder) as authority:
            if authority.stage is seen:
                authority.step()
            return _make(authority)


@contextmanager
def held(folder: Path) -> Iterator[Authority]:
    """The authority as it is now, for one at a time. Raises OSError and ValueError when there is none."""
    with _alone(folder):
        yield Authority(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Others on this machine wait meanwhile."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _make(authority: Authority, *, anew: bool = False) -> Stage:
    for name in NAMES:
        authority.issue(name, renew_below=1 if anew else RENEW_BELOW)
    return authority.stage


def _pause_s(told: str) -> float:
    """No less than nothing, and some day over. Raises ArgumentTypeError."""
    try:
        pause_s = float(told)
    except ValueError:
        pause_s = -1.0
    if not 0 <= pause_s < math.inf:
        raise argparse.ArgumentTypeError(f"{told!r} is no number of seconds")
    return pause_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.certificates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--anew", action="store_true", help="all of them, whatever is left of their lives")
    what.add_argument(
        "--anew-authority", action="store_true", help="by a new authority, which follows this one"
    )
    parser.add_argument(
        "--pause", type=_pause_s, default=PAUSE_S, metavar="SECONDS", help="between its steps; default: 10"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the authority; default: {FOLDER}")
    told = parser.parse_args(arguments)
    if not (told.folder / ISSUES).is_file():
        parser.error(f"{told.folder} holds no authority; `make run` makes one")
    certificates = Certificates(told.folder)
    if told.anew_authority:
        try:
            asyncio.run(certificates.renew_authority(print, pause_s=told.pause))
        except KeyboardInterrupt:
            print("broken off; run again, it goes on")
            return 130
    else:
        certificates.make(anew=told.anew)
    return 0


if __name__ == "__main__":
    sys.exit(main())
