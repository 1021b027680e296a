"""A block's header: its 80 bytes, its proof of work, and what that is worth.

Formats are those of the protocol: https://wiki.bitcoinsv.io/index.php/Block_header, and for `bits` the
node's arith_uint256::SetCompact and GetCompact.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from services.chain.domain.values import BlockHash
from services.chain.domain.wire import HEADER_BYTES, BadBytes, hash_bytes, hash_text, sha256d

_LAYOUT = struct.Struct("<i32s32sIII")
_NOTHING = bytes(32)
_BITS_SIGN = 0x0080_0000
_BITS_WORD = 0x007F_FFFF
_HASHES = 1 << 256


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header. Hashes are hex as explorers show them; `time_s` is the miner's, in Unix seconds.

    `previous_hash` is empty for a genesis block, whose bytes have zeros there.
    """

    version: int
    previous_hash: BlockHash
    merkle_root: str
    time_s: int
    bits: int
    nonce: int

    @classmethod
    def parse(cls, raw: bytes) -> Header:
        """The header that these 80 bytes are. Raises BadBytes."""
        if len(raw) != HEADER_BYTES:
            raise BadBytes(f"a header has {HEADER_BYTES} bytes, not {len(raw)}")
        version, previous, root, time_s, bits, nonce = _LAYOUT.unpack(raw)
        below = BlockHash("" if previous == _NOTHING else hash_text(previous))
        return cls(version, below, hash_text(root), time_s, bits, nonce)

    def __bytes__(self) -> bytes:
        previous = hash_bytes(self.previous_hash) or _NOTHING
        root = hash_bytes(self.merkle_root)
        return _LAYOUT.pack(self.version, previous, root, self.time_s, self.bits, self.nonce)

    @property
    def hash(self) -> BlockHash:
        """The block's hash."""
        return BlockHash(hash_text(sha256d(bytes(self))))


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header where it stands in a chain.

    `work` is the work of that chain up to it, as 64 hex digits, counted from the lowest block that was ever
    known here. `seen_at_ns` is when we first saw it.
    """

    hash: BlockHash
    height: int
    header: Header
    seen_at_ns: int
    work: str

    @classmethod
    def first(cls, header: Header, height: int, seen_at_ns: int) -> Block:
        """A block below which none is known."""
        return cls(header.hash, height, header, seen_at_ns, f"{work_of(header.bits):064x}")

    def next(self, header: Header, seen_at_ns: int) -> Block:
        """The block that this header makes on top of this one."""
        work = int(self.work, 16) + work_of(header.bits)
        return Block(header.hash, self.height + 1, header, seen_at_ns, f"{work:064x}")

    @property
    def previous_hash(self) -> BlockHash:
        """The block below; empty for a genesis block."""
        return self.header.previous_hash

    @property
    def mined_at_s(self) -> int:
        """The miner's time."""
        return self.header.time_s


def target_of(bits: int) -> int:
    """The number that a block's hash must not exceed. Raises BadBytes: not a positive number of 256 bits."""
    size, word = bits >> 24, bits & _BITS_WORD
    target = word >> 8 * (3 - size) if size <= 3 else word << 8 * (size - 3)
    if word and bits & _BITS_SIGN:
        raise BadBytes(f"bits {bits:08x} are a negative target")
    if not target:
        raise BadBytes(f"bits {bits:08x} are a target of zero")
    if target >= _HASHES:
        raise BadBytes(f"bits {bits:08x} are a target of more than 256 bits")
    return target


def bits_of(target: int) -> int:
    """A target's short form, which keeps its highest 15 to 23 bits."""
    size = (target.bit_length() + 7) // 8
    word = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if word & _BITS_SIGN:
        word, size = word >> 8, size + 1
    return size << 24 | word


def work_of(bits: int) -> int:
    """Hashes that a block of these bits takes on average. Raises BadBytes."""
    return _HASHES // (target_of(bits) + 1)


def meets_target(block_hash: BlockHash, bits: int) -> bool:
    """Whether the hash is the proof of work that the bits ask for. Raises BadBytes."""
    return int(block_hash, 16) <= target_of(bits)
