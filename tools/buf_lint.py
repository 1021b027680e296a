"""Lints the contracts with buf, offline: buf reads the descriptor set that protogen made, comments included.

`python -m tools.buf_lint` lints, and refuses what breaks callers of the last release
(`protos/released.binpb`); `--against FILE` names another descriptor set that callers still use.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import protogen

RELEASED = protogen.CONTRACTS / "released.binpb"
CURRENT = protogen.GEN / protogen.DESCRIPTORS


def buf(check: str, *arguments: str, image: Path = CURRENT) -> subprocess.CompletedProcess[str]:
    """Runs a check of buf on a descriptor set; its findings, a line each, are what it prints."""
    binary = Path(sys.executable).parent / "buf"
    command = [str(binary), check, f"{image}#format=binpb", *arguments]
    command += ["--config", str(protogen.ROOT / "buf.yaml")]
    return subprocess.run(command, check=False, cwd=protogen.CONTRACTS, capture_output=True, text=True)


def breaking(against: Path, *, image: Path = CURRENT) -> subprocess.CompletedProcess[str]:
    """What in `image` breaks those who were built with `against`."""
    return buf("breaking", "--against", f"{against.resolve()}#format=binpb", image=image)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers 0 when the contracts are clean."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--against", type=Path, default=RELEASED, help="a descriptor set that callers still use"
    )
    against: Path = options.parse_args(arguments).against
    protogen.main()
    checks = [buf("lint")] + ([breaking(against)] if against.is_file() else [])
    for done in checks:
        sys.stderr.write(done.stdout + done.stderr)
    return max(done.returncode for done in checks)


if __name__ == "__main__":
    sys.exit(main())
