"""Runs many seeds and shows what occurred in them: `python -m tests.simulation --seeds 200`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool

from tests.simulation import coverage
from tests.simulation.run import Report, simulate

SHOW_EVERY = 100


def main() -> int:
    """The exit code is 0 when every seed is well."""
    asked = _arguments()
    first, count = (asked.first, asked.seeds) if asked.seed is None else (asked.seed, 1)
    began_s, counts, failed = time.monotonic(), Counter[str](), 0
    for done, report in enumerate(_reports(range(first, first + count), asked.jobs), 1):
        counts += report.counts
        if report.problem:
            failed += 1
            say("\n".join(report.story), f"\nseed {report.seed}: {report.problem}")
            say(f"again: make simulate SEED={report.seed}\n")
        elif done % SHOW_EVERY == 0:
            say(f"{done} of {count} seeds, {failed} failed")
        if asked.seed is not None and asked.trace:
            say("\n".join(report.story))
    for what, times in sorted(counts.items()):
        say(f"{times:10,}  {what}")
    if count >= coverage.SEEDS and (missing := coverage.missing(counts)):
        say(f"NEVER OCCURRED: {', '.join(missing)}")
    took_s = time.monotonic() - began_s
    busy_s = took_s * min(asked.jobs, count)
    say(f"{count} seeds, {failed} failed; {took_s:.1f} s, {busy_s / count:.2f} s a seed")
    return 1 if failed else 0


def _reports(seeds: range, jobs: int) -> Iterator[Report]:
    if jobs == 1 or len(seeds) == 1:
        yield from map(simulate, seeds)
        return
    with Pool(jobs, maxtasksperchild=200) as pool:
        yield from pool.imap_unordered(simulate, seeds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument(
        "--trace", action="store_true", help="with --seed: the last events, even if all is well"
    )
    return parser.parse_args()


def say(*lines: str) -> None:
    """To whoever runs it."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
