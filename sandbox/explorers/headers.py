"""Block headers: as JSON, as their 80 bytes, and as a liar gives them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sandbox.explorers.faults import Fault

Header = dict[str, object]
"""A header as the node's `getblockheader` and WhatsOnChain write it."""

_NO_BLOCK = "00" * 32


def header_bytes(header: Mapping[str, object]) -> bytes:
    """The 80 bytes that the hash is over."""
    return b"".join(
        (
            int(str(header["version"])).to_bytes(4, "little", signed=True),
            bytes.fromhex(str(header.get("previousblockhash") or _NO_BLOCK))[::-1],
            bytes.fromhex(str(header["merkleroot"]))[::-1],
            int(str(header["time"])).to_bytes(4, "little"),
            bytes.fromhex(str(header["bits"]))[::-1],
            int(str(header["nonce"])).to_bytes(4, "little"),
        )
    )


def spoiled(header: Header, fault: Fault) -> Header:
    """With one lie: its hash is that of its bytes, but it lacks work, or follows an unknown block."""
    if fault is Fault.BAD_LINK:
        unknown = hashlib.sha256(str(header["hash"]).encode()).hexdigest()
        return _found_nonce({**header, "previousblockhash": unknown}, enough_work=True)
    return _found_nonce(header, enough_work=False)


def _found_nonce(header: Header, *, enough_work: bool) -> Header:
    """Regtest asks for next to no work, so that either kind of nonce is found at once."""
    target = _target(bytes.fromhex(str(header["bits"])))
    for nonce in range(1 << 16):
        tried = {**header, "nonce": nonce}
        digest = _sha256d(header_bytes(tried))
        if (int.from_bytes(digest, "little") <= target) is enough_work:
            return {**tried, "hash": digest[::-1].hex()}
    raise ValueError("no such nonce: this chain asks for real work")


def _target(bits: bytes) -> int:
    return int.from_bytes(bits[1:], "big") << 8 * (bits[0] - 3)


def _sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
