"""Builds the TypeScript package: `python tools/client.py`.

Into `clients/typescript/dist`, and packed into `dist/`: the archive that npm installs, and the manifest of
its documents for the gateway.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.npm import NotInstalled, install, npm

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clients" / "typescript"
DIST = ROOT / "dist"
MANIFEST = "trusted-documents.json"
BUILD_S_MAX = 300.0


class NotBuilt(Exception):  # noqa: N818 - said to a person, as it stands
    """It does not compile, or its operations do not fit the schema."""


def build() -> None:
    """Everything anew from the schema, so nothing generated can be stale. Raises NotInstalled, NotBuilt."""
    install(PACKAGE)
    shutil.rmtree(PACKAGE / "dist", ignore_errors=True)
    done = npm(PACKAGE, "run", "--silent", "build", timeout_s=BUILD_S_MAX)
    if done.returncode != 0:
        raise NotBuilt(f"{done.stdout}{done.stderr}".strip())


def pack() -> list[Path]:
    """What is handed out, in `dist/`. Raises NotBuilt."""
    DIST.mkdir(exist_ok=True)
    done = npm(PACKAGE, "pack", "--silent", "--pack-destination", str(DIST), timeout_s=BUILD_S_MAX)
    if done.returncode != 0:
        raise NotBuilt(f"{done.stdout}{done.stderr}".strip())
    return [DIST / done.stdout.split()[-1], Path(shutil.copy(PACKAGE / "dist" / MANIFEST, DIST))]


def main() -> int:
    """Gives the exit code."""
    try:
        build()
        made = pack()
    except (NotInstalled, NotBuilt) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    print("\n".join(str(file.relative_to(ROOT)) for file in made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
