"""ARC's words: the statuses of a transaction, its problems, and the shapes of its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from aiohttp import web

from sandbox.explorers.index import IndexedBlock
from sandbox.explorers.merkle import MerkleProof
from sandbox.explorers.wire import Submitted


class TxStatus(StrEnum):
    """In the order of a transaction's life; the ones that this stand-in reports."""

    RECEIVED = "RECEIVED"
    SEEN_IN_ORPHAN_MEMPOOL = "SEEN_IN_ORPHAN_MEMPOOL"
    SEEN_ON_NETWORK = "SEEN_ON_NETWORK"
    DOUBLE_SPEND_ATTEMPTED = "DOUBLE_SPEND_ATTEMPTED"
    REJECTED = "REJECTED"
    MINED_IN_STALE_BLOCK = "MINED_IN_STALE_BLOCK"
    MINED = "MINED"

    def reaches(self, awaited: str) -> bool:
        """Whether a client that waits for `awaited` (of ARC's longer list) need wait no longer."""
        order = list(TxStatus)
        return self is TxStatus.REJECTED or order.index(self) >= (
            order.index(TxStatus(awaited)) if awaited in order else 0
        )


# Told to a callback only when the client asked for full status updates.
MINOR = (TxStatus.RECEIVED, TxStatus.SEEN_IN_ORPHAN_MEMPOOL, TxStatus.SEEN_ON_NETWORK)

_PROBLEMS = {
    400: ("Bad request", "The request seems to be malformed and cannot be processed"),
    401: ("Unauthorized", "The request is not authorized"),
    404: ("Not found", "The requested resource could not be found"),
    409: ("Generic error", "Transaction could not be processed"),
    460: ("Not extended format", "Transaction is not in extended format, missing input scripts"),
    461: ("Malformed transaction", "Transaction is malformed and cannot be processed"),
    462: ("Invalid inputs", "Transaction is invalid because the inputs are non-existent or spent"),
    463: ("Malformed transaction", "Transaction is malformed and cannot be processed"),
    464: ("Invalid outputs", "Transaction is invalid because the outputs are non-existent or invalid"),
    465: ("Fee too low", "Fees are too low"),
    466: (
        "Conflicting tx found",
        "Transaction is valid, but there is a conflicting tx in the block template",
    ),
    467: (
        "Mined ancestors not found",
        "Error validating BEEF: mined ancestors not found in transaction inputs",
    ),
    468: ("Invalid BUMPs", "Error validating BEEF: could not calculate Merkle roots from given BUMPs"),
    469: ("Merkle Roots validation failed", "Error validating BEEF: could not validate Merkle roots"),
    471: ("Input Frozen", "Input Frozen (blacklist manager policy blacklisted)"),
    472: ("Input Frozen", "Input Frozen (blacklist manager consensus blacklisted)"),
    473: ("Cumulative fee too low", "The cumulative fee is too low"),
}


class Problem(Exception):  # noqa: N818 - an answer, as failures are
    """ARC says no, with one of its status codes."""

    def __init__(self, status: int, extra_info: str = "", txid: str | None = None) -> None:
        super().__init__(f"{status} {extra_info}")
        self.status, self.extra_info, self.txid = status, extra_info, txid

    def shown(self) -> dict[str, object]:
        """As problem details (RFC 7807)."""
        title, detail = _PROBLEMS.get(self.status, _PROBLEMS[409])
        return {
            "type": f"https://bitcoin-sv.github.io/arc/#/errors?id=_{self.status}",
            "title": title,
            "status": self.status,
            "detail": detail,
            "instance": None,
            "txid": self.txid,
            "extraInfo": self.extra_info or None,
        }

    def answer(self) -> web.Response:
        """As the answer to a request."""
        return web.json_response(self.shown(), status=self.status)


def now() -> str:
    """The time as ARC writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Callback:
    """Where changes are told to, by which token; whether the minor ones too, and whether in batches."""

    url: str
    token: str
    full: bool
    batch: bool


@dataclass(slots=True)
class Submission:
    """A transaction in ARC's care. `swallowed`: never sent. `contested`: said to be, until it is mined."""

    tx: Submitted
    status: TxStatus = TxStatus.RECEIVED
    block: IndexedBlock | None = None
    extra_info: str = ""
    competing: list[str] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)
    timestamp: str = field(default_factory=now)
    swallowed: bool = False
    contested: bool = False

    def shown(self, *, spoil_proof: bool = False) -> dict[str, object]:
        """The fields that answers and callbacks share."""
        block, path = self.block, ""
        if block is not None:
            proof = MerkleProof.of(self.tx.txid, block.txids)
            path = (proof.spoiled() if spoil_proof else proof).bump_hex(block.height)
        return {
            "timestamp": self.timestamp,
            "txid": self.tx.txid,
            "txStatus": self.status.value,
            "blockHash": block.hash if block is not None else "",
            "blockHeight": block.height if block is not None else 0,
            "merklePath": path,
            "extraInfo": self.extra_info,
            "competingTxs": self.competing or None,
        }
