"""The command of a benchmark: a little or all, some kinds or all; it prints, and writes a whole run."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.document import write


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured, and the load average before."""

    command: str
    kinds: tuple[str, ...]
    is_quick: bool
    is_whole: bool
    load_before: float

    def tell(self, text: str, failed: Sequence[str]) -> None:
        """Prints the tables, and writes those of a whole run. Raises SystemExit when something failed."""
        print(text)
        if failed:
            raise SystemExit(f"failed: {', '.join(failed)}; nothing is written")
        if self.is_whole:
            write(text, self.command)


def asked_for(command: str, description: str | None, kinds: Collection[str]) -> Asked:
    """What the command line says; `command` is the target of the Makefile."""
    package = command.removeprefix("make ").replace("-", ".")
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=description)
    parser.add_argument("--quick", action="store_true", help="a little of each; writes nothing")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, help="some; writes nothing")
    given = parser.parse_args()
    only = tuple(given.only)
    is_whole = not given.quick and set(only) == set(kinds)
    return Asked(command, only, given.quick, is_whole, os.getloadavg()[0])


@contextmanager
def measuring(kind: str, failed: list[str]) -> Iterator[None]:
    """Around one kind: one that fails is named, and takes no figures from the others."""
    begun_s = time.perf_counter()
    try:
        yield
    except Exception:
        traceback.print_exc()
        failed.append(kind)
    print(f"{kind}: {time.perf_counter() - begun_s:.0f} s", file=sys.stderr)
