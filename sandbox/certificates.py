"""The mesh's certificates on one machine: made, and renewed while it runs.

    python -m sandbox.certificates             renews those with less than a third of their life left
    python -m sandbox.certificates --anew      renews all of them now

What runs follows by itself: Envoy and servers with the next connection, callers within a second or two. In a
cluster cert-manager does this.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mesh import tls
from topology.parts import PARTS

FOLDER = Path(".satreel/data/tls")
# The launcher asks services for their health.
NAMES = (*PARTS, "launcher")
LOOK_S = 3600.0


class Certificates:
    """Those of all parts, in the folder of an authority that is made where there is none."""

    def __init__(self, folder: Path) -> None:
        self._authority = tls.Authority.open(folder)

    def make(self, *, anew: bool = False) -> None:
        """Makes what is missing or has less than a third of its life left; `anew`, all."""
        for name in NAMES:
            self._authority.issue(name, renew_below=1 if anew else tls.RENEW_BELOW)

    async def keep(self, progress: Callable[[str], None]) -> None:
        """Renews them in time; what fails is told and tried again. Endless."""
        while True:
            try:
                await asyncio.to_thread(self.make)
            except OSError as problem:
                progress(f"certificates cannot be renewed, which is tried again: {problem}")
            await asyncio.sleep(LOOK_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.certificates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--anew", action="store_true", help="all of them, whatever is left of their lives")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the authority; default: {FOLDER}")
    told = parser.parse_args(arguments)
    if not (told.folder / "ca.key").is_file():
        parser.error(f"{told.folder} holds no authority; `make run` makes one")
    Certificates(told.folder).make(anew=told.anew)
    return 0


if __name__ == "__main__":
    sys.exit(main())
