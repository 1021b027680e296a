"""Builds the wheel `satreel-protos` into dist/: `python -m tools.protos_wheel`.

Messages, stubs and their types from gen/, and `satreel.calling` from clients/python. Contracts that have
changed since the last release (tools/released.py) make a wheel whose version says `+unreleased`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import protogen, released

PACKAGE = protogen.ROOT / "clients" / "python"
DIST = protogen.ROOT / "dist"
# Of gen/: messages of the contracts, and of the rules that the contracts name.
CONTENTS = ("satreel", "buf")
# The oldest time that an archive can tell, so that the same contents make the same file.
_ALWAYS_THEN = "315532800"
# How the ledger writes its journal is nobody else's.
_KEPT_OUT = shutil.ignore_patterns("__pycache__", "journal_pb2*")


class NotBuilt(Exception):  # noqa: N818 - said to a person, as it stands
    """Hatchling did not make it."""


def build(into: Path = DIST) -> Path:
    """The wheel's path. Raises NotBuilt."""
    protogen.main()
    with tempfile.TemporaryDirectory(prefix="satreel-protos-") as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(PACKAGE, source, ignore=_KEPT_OUT)
        for package in CONTENTS:
            shutil.copytree(protogen.GEN / package, source / package, ignore=_KEPT_OUT, dirs_exist_ok=True)
        if released.has_changed():
            _name_unreleased(source / "pyproject.toml")
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", scratch]
        told = {**os.environ, "SOURCE_DATE_EPOCH": _ALWAYS_THEN}
        done = subprocess.run(command, cwd=source, env=told, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotBuilt(f"{done.stdout}{done.stderr}".strip())
        made = next(Path(scratch).glob("*.whl"))
        into.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(made, into / made.name))


def _name_unreleased(project: Path) -> None:
    version = released.version()
    project.write_text(
        project.read_text().replace(f'version = "{version}"', f'version = "{version}+unreleased"', 1)
    )


def main() -> int:
    """Gives the exit code."""
    try:
        wheel = build()
    except NotBuilt as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    print(wheel.relative_to(protogen.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
