"""Answers of WhatsOnChain, as they must be. Fields that are not used are not looked at."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.chain.domain.header import Header
from services.chain.domain.values import BlockHash

HASH_PATTERN = "^[0-9a-f]{64}$"
Hash = Annotated[str, Field(pattern=HASH_PATTERN)]
Height = Annotated[int, Field(ge=0, le=100_000_000)]
Word = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ChainInfo(_Shape):
    """GET /chain/info."""

    chain: str
    blocks: Height
    bestblockhash: Hash


class HeaderShape(_Shape):
    """GET /block/{hash or height}/header."""

    hash: Hash
    confirmations: int
    height: Height
    version: Annotated[int, Field(ge=-(1 << 31), lt=1 << 32)]
    merkleroot: Hash
    time: Word
    nonce: Word
    bits: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    previousblockhash: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] | None = None

    @property
    def header(self) -> Header:
        """The header that these fields make."""
        version = self.version - (1 << 32) if self.version >= 1 << 31 else self.version
        below = "" if self.previousblockhash == "0" * 64 else self.previousblockhash
        return Header(
            version, BlockHash(below or ""), self.merkleroot, self.time, int(self.bits, 16), self.nonce
        )


class TxStatus(_Shape):
    """One of POST /txs/status. Without a block it waits to be mined; with an error it is not known."""

    txid: Hash
    blockhash: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] | None = None
    blockheight: int | None = None
    error: str | None = None


class Spender(_Shape):
    """Who spends an output."""

    txid: Hash
    vin: int


class Entry(_Shape):
    """A transaction in the history of an address; without a height while it waits."""

    tx_hash: Hash
    height: int | None = None


class History(_Shape):
    """The history of an address; one of a list where many were asked for."""

    address: str
    result: Annotated[list[Entry], Field(max_length=100_000)] | None = None
    next_page: Annotated[str | None, Field(alias="nextPageToken", max_length=4096)] = None
    error: str | None = None


CHAIN_INFO = TypeAdapter(ChainInfo)
HEADER = TypeAdapter(HeaderShape)
SPENDER = TypeAdapter(Spender)
STATUSES = TypeAdapter(Annotated[list[TxStatus], Field(max_length=20)])
HISTORY = TypeAdapter(History)
HISTORIES = TypeAdapter(Annotated[list[History], Field(max_length=20)])
PROOFS = TypeAdapter(Annotated[list[dict[str, object]], Field(max_length=4)] | None)
TEXT = TypeAdapter(str)
