"""`satreel-keys`: makes, shows and checks the key file. The seed itself is never shown.

The passphrase comes from --passphrase-file, else it is asked for at the terminal.
"""

from __future__ import annotations

import argparse
import getpass
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from bsv.keys import PublicKey

from services.chain.adapters import secrecy
from services.chain.adapters.keyfile import KeyFile, KeyFileRefused, read_key_file, write_key_file
from services.chain.adapters.seed import SeedMissing, read_passphrase, read_plain_seed
from services.chain.domain.keys import CHANGE, FLOAT, RECORD, SEED_BYTES, KeyRing
from services.chain.domain.values import Network

Say = Callable[[str], None]


def new(path: Path, network: Network, passphrase: str, say: Say) -> None:
    """Makes new keys."""
    _seal(path, secrets.token_bytes(SEED_BYTES), network, passphrase, say)


def seal(path: Path, plain: Path, network: Network, passphrase: str, say: Say) -> None:
    """Takes over the keys of a plain seed file."""
    _seal(path, read_plain_seed(plain), network, passphrase, say)
    say(f"Now destroy {plain} and its copies.")


def show(path: Path, say: Say) -> None:
    """Tells what can be told without the passphrase."""
    file = read_key_file(path)
    say(f"network      {file.network}\nfingerprint  {file.fingerprint}\nformat       {file.format}")


def check(path: Path, passphrase: str, say: Say) -> None:
    """Opens it, signs with it, and tells the addresses that follow from it."""
    file = read_key_file(path)
    keys = KeyRing(file.open(passphrase, file.network), file.network)
    digest, signer = secrets.token_bytes(32), keys.key(CHANGE)
    if not PublicKey(signer.public_key).verify(signer.sign_digest(digest), digest, hasher=None):
        raise KeyFileRefused("a signature of these keys does not verify")
    show(path, say)
    for name, key in (("float", FLOAT), ("change", CHANGE), ("records", RECORD)):
        say(f"{name:<12} {keys.address(key)}")
    say("The file opens, and its keys sign.")


def change_passphrase(path: Path, before: str, after: str, say: Say) -> None:
    """Seals the same keys under another passphrase. Old copies still open with the old one."""
    file = read_key_file(path)
    write_key_file(path, KeyFile.seal(file.open(before, file.network), file.network, after), instead=True)
    say("Sealed under the new passphrase. Copies made before still open with the old one: replace them.")


def _seal(path: Path, seed: bytes, network: Network, passphrase: str, say: Say) -> None:
    write_key_file(path, KeyFile.seal(seed, network, passphrase))
    say(f"{path} is written. Copy it to two places; keep the passphrase elsewhere.")
    check(path, passphrase, say)


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; exits with 1 and a reason where it cannot."""
    given = _parser().parse_args(arguments)
    secrecy.shut()
    try:
        _run(given, print)
    except (KeyFileRefused, SeedMissing, OSError) as problem:
        sys.exit(f"satreel-keys: {problem}")


def _run(given: argparse.Namespace, say: Say) -> None:
    match given.command:
        case "new":
            new(given.file, given.network, _asked(given.passphrase_file, twice=True), say)
        case "seal":
            seal(given.file, given.seed_file, given.network, _asked(given.passphrase_file, twice=True), say)
        case "show":
            show(given.file, say)
        case "check":
            check(given.file, _asked(given.passphrase_file), say)
        case "passphrase":
            before = _asked(given.passphrase_file)
            change_passphrase(given.file, before, _asked(given.new_passphrase_file, twice=True), say)


def _asked(path: Path | None, *, twice: bool = False) -> str:
    if path is not None:
        return read_passphrase(path)
    passphrase = getpass.getpass("New passphrase: " if twice else "Passphrase: ")
    if twice and getpass.getpass("Once more: ") != passphrase:
        raise KeyFileRefused("these were two different passphrases")
    return passphrase


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="satreel-keys", description="The key file of the chain service.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("new", "make new keys"),
        ("seal", "take over the keys of a plain seed file"),
        ("show", "tell network and fingerprint"),
        ("check", "open it, sign with it, tell its addresses"),
        ("passphrase", "change the passphrase"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("file", type=Path, help="the key file")
        if name in ("new", "seal"):
            command.add_argument("--network", type=Network, choices=list(Network), required=True)
        if name == "seal":
            command.add_argument("--seed-file", type=Path, required=True, help="64 bytes as hex, mode 0600")
        if name != "show":
            command.add_argument("--passphrase-file", type=Path, help="its first line; else it is asked for")
        if name == "passphrase":
            command.add_argument("--new-passphrase-file", type=Path, help="likewise, the new one")
    return parser


if __name__ == "__main__":
    main()
