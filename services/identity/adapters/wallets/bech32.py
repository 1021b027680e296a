"""Segwit addresses (BIP-173, and BIP-350 from version 1 on)."""

from __future__ import annotations

from collections.abc import Iterable

CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
LENGTH_MAX = 90
CHECKSUM_CHARACTERS = 6
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32, _BECH32M = 1, 0x2BC830A3
_VERSION_MAX = 16
_PROGRAM_BYTES = range(2, 41)


def decoded(text: str) -> tuple[str, int, bytes]:
    """Prefix, witness version and program of an address. Raises ValueError saying what is wrong."""
    if len(text) > LENGTH_MAX or text not in (text.lower(), text.upper()):
        raise ValueError("too long, or in mixed case")
    prefix, separator, rest = text.lower().rpartition("1")
    if not (prefix and separator and prefix.isascii() and len(rest) > CHECKSUM_CHARACTERS):
        raise ValueError("no segwit address")
    values = [CHARACTERS.find(character) for character in rest]
    if -1 in values:
        raise ValueError("has characters that no segwit address has")
    version, program = values[0], values[1:-CHECKSUM_CHARACTERS]
    if _checksum(prefix, values) != (_BECH32M if version else _BECH32):
        raise ValueError("the checksum is wrong")
    if version > _VERSION_MAX:
        raise ValueError("no such witness version")
    return prefix, version, _octets(program)


def encoded(prefix: str, version: int, program: bytes) -> str:
    """The address of a witness program."""
    values = [version, *_quintets(program)]
    constant = _BECH32M if version else _BECH32
    check = _checksum(prefix, [*values, *[0] * CHECKSUM_CHARACTERS]) ^ constant
    values += [check >> 5 * (CHECKSUM_CHARACTERS - 1 - place) & 31 for place in range(CHECKSUM_CHARACTERS)]
    return f"{prefix}1{''.join(CHARACTERS[value] for value in values)}"


def _checksum(prefix: str, values: Iterable[int]) -> int:
    codes = prefix.encode()
    check = 1
    for value in (*(code >> 5 for code in codes), 0, *(code & 31 for code in codes), *values):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            check ^= generator if top >> place & 1 else 0
    return check


def _octets(quintets: list[int]) -> bytes:
    bits = 5 * len(quintets)
    whole = sum(value << bits - 5 * (place + 1) for place, value in enumerate(quintets))
    spare = bits % 8
    # Bits that fill up the last character are fewer than five, and zero.
    if spare >= 5 or whole & (1 << spare) - 1 or bits // 8 not in _PROGRAM_BYTES:
        raise ValueError("the witness program has a wrong length")
    return (whole >> spare).to_bytes(bits // 8, "big")


def _quintets(octets: bytes) -> list[int]:
    count = -(-8 * len(octets) // 5)
    whole = int.from_bytes(octets, "big") << 5 * count - 8 * len(octets)
    return [whole >> 5 * (count - 1 - place) & 31 for place in range(count)]
