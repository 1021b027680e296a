"""Names and small values everything else is said in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from mesh import ids

Sats = NewType("Sats", int)
Txid = NewType("Txid", str)
BlockHash = NewType("BlockHash", str)
UserId = NewType("UserId", str)
MemeId = NewType("MemeId", str)
PlanId = NewType("PlanId", str)

SATS_MAX = 21_000_000 * 100_000_000

FLOAT_USER = UserId("platform:float")
"""Stands for the operator where deposits name a user; also the ledger account that pays miners' fees."""
COINS_ACCOUNT = "chain:coins"
"""Contra account of the ledger: its negative balance is what the hot wallet must hold."""
COLD_ACCOUNT = "chain:cold"
"""Contra account of the ledger: its negative balance is what lies at the cold address."""
COLD_USER = UserId(COLD_ACCOUNT)
"""Stands for the cold address where deposits name a user: what comes back from there is nobody's credit."""


class Network(StrEnum):
    """Which chain: addresses of one are never paid on another."""

    MAIN = "main"
    TEST = "test"
    REGTEST = "regtest"


class Purpose(StrEnum):
    """What a transaction of ours is for."""

    WITHDRAWAL = "withdrawal"
    INSCRIPTION = "inscription"
    TITLE_TRANSFER = "title_transfer"
    RESULT = "result"
    WALLET = "wallet"
    BUMP = "bump"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True, order=True)
class Outpoint:
    """One output of one transaction; as text "<txid>_<vout>", as ordinals are named."""

    txid: Txid
    vout: int

    def __str__(self) -> str:
        return f"{self.txid}_{self.vout}"

    def __bytes__(self) -> bytes:
        """As inputs name it."""
        return bytes.fromhex(self.txid)[::-1] + self.vout.to_bytes(4, "little")

    @classmethod
    def parse(cls, text: str) -> Outpoint:
        """The outpoint that this text names."""
        txid, _, vout = text.rpartition("_")
        return cls(Txid(txid), int(vout))


def account_of(user_id: UserId) -> str:
    """The ledger account of a user, of the operator's float, or of the cold address."""
    return user_id if user_id in (FLOAT_USER, COLD_USER) else f"user:{user_id}"


def derived_id(at_ns: int, *parts: str) -> str:
    """An id made from a time that stands and from other ids: the same always give the same.

    The ledger takes no ids from before its horizon, so the time is that of what the id is for.
    """
    return ids.derived_id(at_ns, "\n".join(("satreel.chain", *parts)))


def noise_of(text: str, bits: int = 74) -> int:
    """Bits that follow from the text, where an id asks for random ones and the same must come out again."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") >> (256 - bits)
