"""The key file: the seed of all keys, sealed by a passphrase.

JSON: what the file says of itself, and `sealed`, the seed under AES-256-GCM (NIST SP 800-38D). The key to it
is made of the passphrase by scrypt (RFC 7914, costs as OWASP advises: 128 MiB). All other fields are
authenticated with it, so a file that was changed does not open.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from services.chain.domain.keys import SEED_BYTES, KeyRing
from services.chain.domain.values import Network

FORMAT = "satreel-keys/1"
PASSPHRASE_CHARACTERS_MIN = 16
SCRYPT_N, SCRYPT_N_MAX = 1 << 17, 1 << 20
SCRYPT_R, SCRYPT_P = 8, 1
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 16, 12, 32
FILE_BYTES_MAX = 4_096


class KeyFileRefused(RuntimeError):  # noqa: N818 - said to the operator, as it stands
    """The key file, or what was to become one, cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What the file says: bytes as hex; `fingerprint` is the master key's as BIP-32 has it."""

    network: Network
    fingerprint: str
    scrypt_n: int
    salt: str
    nonce: str
    sealed: str
    format: str = FORMAT

    @property
    def _said(self) -> bytes:
        said = {name: value for name, value in asdict(self).items() if name != "sealed"}
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()

    def _key(self, passphrase: str) -> AESGCM:
        salt = bytes.fromhex(self.salt)
        kdf = Scrypt(salt=salt, length=KEY_BYTES, n=self.scrypt_n, r=SCRYPT_R, p=SCRYPT_P)
        return AESGCM(kdf.derive(passphrase.encode()))

    @classmethod
    def seal(cls, seed: bytes, network: Network, passphrase: str, *, scrypt_n: int = SCRYPT_N) -> KeyFile:
        """A new file's content. Raises KeyFileRefused for a passphrase that is too short."""
        if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
            raise KeyFileRefused(f"a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters")
        salt, nonce = secrets.token_hex(SALT_BYTES), secrets.token_hex(NONCE_BYTES)
        empty = cls(network, KeyRing(seed, network).fingerprint, scrypt_n, salt, nonce, "")
        sealed = empty._key(passphrase).encrypt(bytes.fromhex(nonce), seed, empty._said)
        return replace(empty, sealed=sealed.hex())

    def open(self, passphrase: str, network: Network) -> bytes:
        """The seed. Raises KeyFileRefused."""
        if self.network is not network:
            raise KeyFileRefused(f"these keys are of the {self.network} network, not of {network}")
        try:
            sealed, nonce = bytes.fromhex(self.sealed), bytes.fromhex(self.nonce)
            seed = self._key(passphrase).decrypt(nonce, sealed, self._said)
        except InvalidTag:
            raise KeyFileRefused("another passphrase, or the file was changed") from None
        if len(seed) != SEED_BYTES or KeyRing(seed, network).fingerprint != self.fingerprint:
            raise KeyFileRefused("the file does not hold the keys that it names")
        return seed


def read_key_file(path: Path) -> KeyFile:
    """The file, still sealed. Raises KeyFileRefused."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii") if path.stat().st_size <= FILE_BYTES_MAX else ""
    except (OSError, UnicodeDecodeError) as problem:
        raise KeyFileRefused(f"{path} cannot be read: {type(problem).__name__}") from problem
    if mode & 0o007:  # a secret that is mounted belongs to a service's group
        raise KeyFileRefused(f"{path} can be read by everybody (mode {mode:04o}): chmod 600 it")
    try:
        said = json.loads(text)
        found = KeyFile(**said | {"network": Network(said["network"])})
        hexes = [bytes.fromhex(one) for one in (found.salt, found.nonce, found.sealed)]
        sound = [len(one) for one in hexes] == [SALT_BYTES, NONCE_BYTES, SEED_BYTES + 16]
        n = found.scrypt_n
        sound = sound and found.format == FORMAT and 1 < n <= SCRYPT_N_MAX and n & (n - 1) == 0
    except (ValueError, TypeError, KeyError) as problem:
        raise KeyFileRefused(f"{path} is no key file") from problem
    if not sound:
        raise KeyFileRefused(f"{path} is no key file of the format {FORMAT}")
    return found


def write_key_file(path: Path, file: KeyFile, *, instead: bool = False) -> None:
    """Writes it, for its owner's eyes only; whole or not at all.

    Raises KeyFileRefused where there is a file already, unless it goes there `instead`.
    """
    if path.exists() and not instead:
        raise KeyFileRefused(f"{path} exists, and keys are never written over")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
        ) as out:
            out.write(json.dumps(asdict(file), indent=2) + "\n")
            out.flush()
            os.fsync(out.fileno())
        if instead:
            fresh.replace(path)
        else:
            os.link(fresh, path)  # refuses where somebody was faster
    except FileExistsError as problem:
        raise KeyFileRefused(f"{path} exists, and keys are never written over") from problem
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
