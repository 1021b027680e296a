"""Where the seed of all keys comes from: a key file under a passphrase; off mainnet a plain one will do."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from mesh import logs
from services.chain.adapters.keyfile import KeyFileRefused, read_key_file
from services.chain.domain.keys import SEED_BYTES
from services.chain.domain.values import Network

PASSPHRASE_BYTES_MAX = 4_096

log = logs.logger(__name__)


class SeedMissing(RuntimeError):  # noqa: N818 - said to the operator, as it stands
    """There is no seed that may be used; the text says what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class SeedSource:
    """What the settings say of the keys: a key file with its passphrase, or a plain seed (hex, or a file)."""

    network: Network
    plain_file: Path
    plain_hex: str = ""
    key_file: Path | None = None
    passphrase: str = ""
    passphrase_file: Path | None = None

    def load(self) -> bytes:
        """The seed. A plain file that is missing is made; on mainnet only a key file will do.

        Raises SeedMissing, KeyFileRefused.
        """
        if self.key_file is not None:
            if self.plain_hex:
                raise SeedMissing("both a key file and SATREEL_CHAIN_SEED are given: which keys are meant?")
            passphrase = self.passphrase or read_passphrase(self.passphrase_file)
            return read_key_file(self.key_file).open(passphrase, self.network)
        if self.network is Network.MAIN:
            raise SeedMissing(
                "on mainnet keys come from an encrypted key file, made by `satreel-keys new`: see "
                "SATREEL_CHAIN_KEY_FILE and the key ceremony in services/chain/README.md"
            )
        return _parsed(self.plain_hex, "SATREEL_CHAIN_SEED") if self.plain_hex else _plain(self.plain_file)


def read_passphrase(path: Path | None) -> str:
    """The first line of a file that not everybody may read. Raises KeyFileRefused."""
    if path is None:
        raise KeyFileRefused(
            "a key file needs SATREEL_CHAIN_KEY_PASSPHRASE_FILE (or SATREEL_CHAIN_KEY_PASSPHRASE)"
        )
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        with path.open(encoding="utf-8") as file:
            lines = file.read(PASSPHRASE_BYTES_MAX).splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise KeyFileRefused(f"{path} cannot be read: {type(problem).__name__}") from problem
    if mode & 0o007:
        raise KeyFileRefused(f"{path} can be read by everybody (mode {mode:04o}): chmod 600 it")
    if not lines:
        raise KeyFileRefused(f"{path} holds no passphrase")
    return lines[0]


def read_plain_seed(path: Path) -> bytes:
    """The seed in a plain file that only its owner may read. Raises SeedMissing."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SeedMissing(f"{path} can be read by others (mode {mode:04o}): chmod 600 it")
    return _parsed(path.read_text(encoding="ascii"), str(path))


def _plain(path: Path) -> bytes:
    if not path.exists():
        _make(path)
    return read_plain_seed(path)


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
