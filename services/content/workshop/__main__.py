"""`python -m services.content.workshop <limits> picture|film <path>…`: prints one JSON object.

It binds itself before it imports a decoder: memory, time, no new files but the poster, no core dumps. Its
environment holds no secrets (see adapters/workshop.py), and whatever becomes of it, the service goes on.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from mesh.errors import Failure

OPEN_FILES_MAX = 64
EXIT_MEMORY = 3


def bind(memory_bytes: int, time_s: int, file_bytes: int) -> None:
    """Sets limits that cannot be taken back."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: time_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES_MAX,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
    # Ends this process even when nobody is left to end it.
    signal.alarm(time_s + 1)
    os.nice(5)


def work(what: str, paths: list[str], bounds: dict[str, int]) -> dict[str, object]:
    """The answer for the service."""
    try:
        if what == "picture":
            from services.content.domain.pictures import PictureBounds  # noqa: PLC0415 - after the limits
            from services.content.workshop.pictures import inspect  # noqa: PLC0415

            return {"accepted": asdict(inspect(Path(paths[0]).read_bytes(), PictureBounds(**bounds)))}
        from services.content.workshop.films import measure  # noqa: PLC0415

        return {"accepted": asdict(measure(Path(paths[0]), Path(paths[1])))}
    except Failure as failure:
        return {
            "refused": {"reason": failure.reason, "message": failure.message, "metadata": failure.metadata}
        }


def main() -> None:
    """Exit code 0: the answer stands on stdout. EXIT_MEMORY: it needed more memory than it may have."""
    order = json.loads(sys.argv[1])
    bind(order["memory_bytes"], order["time_s"], order["file_bytes"])
    try:
        answer = work(sys.argv[2], sys.argv[3:], order["bounds"])
    except MemoryError:
        raise SystemExit(EXIT_MEMORY) from None
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
