"""The seed of all keys: from the environment or a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from mesh import logs
from services.chain.domain.keys import SEED_BYTES
from services.chain.domain.values import Network

log = logs.logger(__name__)


class SeedMissing(RuntimeError):  # noqa: N818 - said to the operator, as it stands
    """There is no seed that may be used; the text says what to do."""


def load_seed(*, secret_hex: str, path: Path, network: Network) -> bytes:
    """The seed: `secret_hex` if given, else the file's, which is made when missing (never on mainnet).

    Raises SeedMissing.
    """
    if secret_hex:
        return _parsed(secret_hex, "SATREEL_CHAIN_SEED")
    if not path.exists():
        if network is Network.MAIN:
            raise SeedMissing(
                f"no key seed: {path} does not exist, and on mainnet none is made by itself. Put 64 random "
                "bytes as hex into it (mode 0600), or set SATREEL_CHAIN_SEED; keep a copy offline."
            )
        _make(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SeedMissing(f"{path} can be read by others (mode {mode:04o}): chmod 600 it")
    return _parsed(path.read_text(encoding="ascii"), str(path))


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return  # another instance was faster
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SEED_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    log.warning("key seed made", path=str(path))


def _parsed(text: str, where: str) -> bytes:
    try:
        seed = bytes.fromhex(text.strip())
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise SeedMissing(f"{where} does not hold {SEED_BYTES} bytes as hex") from None
    return seed
